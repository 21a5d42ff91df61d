//! Splits a run into parts for several machines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;

use crate::common::*;

/// One of several parts of equal work.
///
/// ```
/// use harness::run::shard::Shard;
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

/// A shard, and how many cases all shards have together.
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

/// How many parts a run may have.
const MOST: u32 = 9999;

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        text.split_once('/')
            .and_then(|(which, of)| Some((number(which)?, number(of)?)))
            .filter(|(which, of)| (1..=*of).contains(which) && *of <= MOST)
            .map(|(number, of)| Shard { number, of })
            .ok_or_else(|| "give it as I/N with I from 1 to N, e.g. 2/3".to_owned())
    }
}

impl Shard {
    /// The cases of this shard, in the order of the plan. The heaviest are assigned first, each to the shard with the
    /// least work so far: the same list gives the same shards everywhere.
    pub fn of(self, items: Vec<Item>, tier: Tier) -> Vec<Item> {
        let work: Vec<u32> = items.iter().map(|item| (item.case.work)(tier)).collect();
        let owners = owners(&work, self.of);
        items.into_iter().zip(owners).filter_map(|(item, owner)| (owner == self.number).then_some(item)).collect()
    }
}

/// The shard of each case, from 1: the next heaviest goes to the lightest shard, the first of several.
fn owners(work: &[u32], of: u32) -> Vec<u32> {
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&index| Reverse(work[index]));
    let mut shards: BinaryHeap<Reverse<(u64, u32)>> = (1..=of).map(|shard| Reverse((0, shard))).collect();
    let mut owners = vec![0; work.len()];
    for index in order {
        let Some(Reverse((load, shard))) = shards.pop() else {
            break;
        };
        owners[index] = shard;
        shards.push(Reverse((load + u64::from(work[index].max(1)), shard)));
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_shard_and_the_work_is_balanced() {
        let work: Vec<u32> = (0..1000).map(|index| 1 + (index * 37) % 91).collect();
        let heaviest = u64::from(*work.iter().max().unwrap());
        for of in [1, 2, 3, 7, 64, 1003] {
            let owners = owners(&work, of);
            assert!(owners.iter().all(|owner| (1..=of).contains(owner)));
            let load = |shard: u32| -> u64 {
                let mine = owners.iter().zip(&work).filter(|(owner, _)| **owner == shard);
                mine.map(|(_, &work)| u64::from(work)).sum()
            };
            let loads: Vec<u64> = (1..=of).map(load).collect();
            let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            assert!(spread <= heaviest, "{of} shards: {loads:?}");
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "1/0", "0/1", "2/1", "a/b", "1/2/3", "-1/2", "1/10000"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
