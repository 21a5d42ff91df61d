//! The model against the catalogue's account of single bits, which `bits.toml` transcribes.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bits {
    refused: Vec<(u32, u32)>,
    flag: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    bit: u32,
    name: String,
    root: Outcome,
    unprivileged: Outcome,
    needs: Option<String>,
    without: Option<(Outcome, Outcome)>,
    switched_off: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum Outcome {
    #[serde(rename = "0")]
    Success,
    #[serde(rename = "EINVAL")]
    Invalid,
    #[serde(rename = "EPERM")]
    NotPermitted,
}

impl Outcome {
    fn result(self) -> Result<(), Errno> {
        match self {
            Outcome::Success => Ok(()),
            Outcome::Invalid => Err(Errno::EINVAL),
            Outcome::NotPermitted => Err(Errno::EPERM),
        }
    }
}

#[test]
fn every_bit_gives_what_the_catalogue_says() {
    let bits: Bits = toml::from_str(include_str!("bits.toml")).expect("valid TOML");
    let refused = |bit: u32| bits.refused.iter().any(|(first, last)| (*first..=*last).contains(&bit));
    for bit in 0..64 {
        let flag = Flags(1 << bit);
        let row = bits.flag.iter().find(|row| row.bit == bit);
        assert!(refused(bit) != row.is_some(), "bit {bit} is there twice or not at all");
        let (mut facts, mut debian) = (Facts::default(), Facts::default());
        debian.further.insert("user_namespace_takes_root".to_owned(), true.into());
        let both = |facts: &Facts| {
            let kernel = Kernel::of(facts);
            [Start::default(), Start::unprivileged()].map(|start| predict(&start, flag, &kernel))
        };
        let results = |facts: &Facts| both(facts).map(|prediction| prediction.result);
        let Some(row) = row else {
            assert_eq!(results(&facts), [Err(Errno::EINVAL); 2], "{flag}");
            assert_eq!(results(&debian), [Err(Errno::EINVAL); 2], "{flag}");
            continue;
        };
        assert_eq!(flag.to_string(), row.name);
        let restricted = row.switched_off.unwrap_or(row.unprivileged).result();
        assert_eq!(results(&facts), [row.root.result(), row.unprivileged.result()], "{flag}");
        assert_eq!(results(&debian), [row.root.result(), restricted], "{flag}");
        let (Some(feature), Some((root, unprivileged))) = (&row.needs, row.without) else {
            continue;
        };
        for facts in [&mut facts, &mut debian] {
            facts.absent.insert(feature.clone(), "not built in".to_owned());
        }
        let restricted = row.switched_off.unwrap_or(unprivileged).result();
        assert_eq!(results(&facts), [root.result(), unprivileged.result()], "{flag} without {feature}");
        assert_eq!(results(&debian), [root.result(), restricted], "{flag} without {feature}");
        for prediction in both(&facts) {
            let effects = (prediction.must_change, prediction.may_change, prediction.separated);
            assert_eq!(effects, (Parts::NONE, Parts::NONE, Flags::NONE), "{flag} without {feature}");
        }
    }
}
