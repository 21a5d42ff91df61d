//! A run in several parts, on several machines: which cases belong to which part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::case::Item;
use crate::case_run::Tier;

/// One of several parts of equal work.
///
/// ```
/// use harness::shard::Shard;
/// assert_eq!("2/3".parse(), Ok(Shard { number: 2, of: 3 }));
/// assert!("0/3".parse::<Shard>().is_err() && "4/3".parse::<Shard>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which one, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// A shard, and how many cases all of them have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which part.
    #[serde(flatten)]
    pub shard: Shard,
    /// How many cases the whole has.
    pub whole: u32,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        text.split_once('/')
            .and_then(|(which, of)| Some((number(which)?, number(of)?)))
            .filter(|(which, of)| (1..=*of).contains(which))
            .map(|(number, of)| Shard { number, of })
            .ok_or_else(|| "give it as I/N with I from 1 to N, e.g. 2/3".to_owned())
    }
}

impl Shard {
    /// The cases of this shard, in the order of the plan. The heaviest are dealt out first, each to
    /// the shard that has the least so far: the same list gives the same shards everywhere.
    pub fn of(self, items: Vec<Item>, tier: Tier) -> Vec<Item> {
        let mine = self.choose(
            &items
                .iter()
                .map(|item| (item.case.work)(tier))
                .collect::<Vec<_>>(),
        );
        items
            .into_iter()
            .zip(mine)
            .filter_map(|(item, mine)| mine.then_some(item))
            .collect()
    }

    fn choose(self, work: &[u32]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(work[index]));
        let mut loads = vec![0u64; self.of as usize];
        let mut mine = vec![false; work.len()];
        for index in order {
            let lightest = (0..loads.len())
                .min_by_key(|&shard| loads[shard])
                .expect("there is at least one shard");
            loads[lightest] += u64::from(work[index].max(1));
            mine[index] = lightest + 1 == self.number as usize;
        }
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_shard_and_the_work_is_balanced() {
        let work: Vec<u32> = (0..1000).map(|index| 1 + (index * 37) % 91).collect();
        let heaviest = u64::from(*work.iter().max().unwrap());
        for of in [1, 2, 3, 7, 64, 1000, 1003] {
            let mut owners = vec![0; work.len()];
            let mut loads = Vec::new();
            for number in 1..=of {
                let mine = Shard { number, of }.choose(&work);
                let mut load = 0;
                for (index, _) in mine.iter().enumerate().filter(|(_, mine)| **mine) {
                    owners[index] += 1;
                    load += u64::from(work[index]);
                }
                loads.push(load);
            }
            assert!(owners.iter().all(|&owners| owners == 1), "{of} shards");
            let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            assert!(spread <= heaviest, "{of} shards: {loads:?}");
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "1/0", "0/1", "2/1", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
