//! Input as an adversary sends it, for tests of what SECURITY.md calls a boundary: valid text with random
//! damage, and text that is random from the start.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// How many inputs each property is tried with: as many as take less than two seconds in a debug build.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// One piece of damage, at a place in the text.
#[derive(Clone, Debug)]
enum Damage {
    Insert(String),
    Remove(usize),
    /// Swaps a digit for a number that fits hardly anywhere.
    Number(&'static str),
    RepeatLine,
    Truncate,
}

fn damage() -> impl Strategy<Value = Damage> {
    let numbers = ["-1", "4294967295", "18446744073709551615", "1e999", "0.5"];
    let pieces = ["\"", "{", "]", "\n", "\\u0000", "null", "{\"event\"", "[    1.234567]", "BUG: ", "\u{fffd}"];
    prop_oneof![
        proptest::sample::select(pieces.to_vec()).prop_map(|piece| Damage::Insert(piece.to_owned())),
        "\\PC{0,8}".prop_map(Damage::Insert),
        (1..40_usize).prop_map(Damage::Remove),
        proptest::sample::select(numbers.to_vec()).prop_map(Damage::Number),
        Just(Damage::RepeatLine),
        Just(Damage::Truncate),
    ]
}

/// This text, damaged up to six times; or, one time in eight, other text altogether.
pub fn mutated(text: String) -> impl Strategy<Value = String> {
    let damaged = vec((any::<Index>(), damage()), 0..6)
        .prop_map(move |all| all.into_iter().fold(text.clone(), |text, (index, damage)| damaged(text, index, damage)));
    prop_oneof![7 => damaged, 1 => "(\\PC|\n){0,200}"]
}

fn damaged(mut text: String, index: Index, damage: Damage) -> String {
    let at = text.floor_char_boundary(index.index(text.len() + 1));
    match damage {
        Damage::Insert(piece) => text.insert_str(at, &piece),
        Damage::Remove(count) => {
            let end = text.ceil_char_boundary((at + count).min(text.len()));
            text.replace_range(at..end, "");
        }
        Damage::Number(number) => {
            if let Some(digit) = text[at..].find(|c: char| c.is_ascii_digit()) {
                text.replace_range(at + digit..=at + digit, number);
            }
        }
        Damage::RepeatLine => {
            let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
            let line = text[start..end].to_owned();
            text.insert_str(end, &line);
        }
        Damage::Truncate => text.truncate(at),
    }
    text
}
