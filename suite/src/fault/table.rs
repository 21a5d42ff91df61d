//! Which faults there are.

mod beside;
mod errnos;
mod flags;
mod leftovers;
mod results;
mod state;
mod work;

use std::sync::OnceLock;

use super::Fault;
use super::lie::{Lie, What, When};

/// All faults, those that do the least first.
pub fn all() -> &'static [Fault] {
    static ALL: OnceLock<Vec<Fault>> = OnceLock::new();
    ALL.get_or_init(|| {
        let parts = [
            results::faults(),
            work::faults(),
            flags::faults(),
            errnos::faults(),
            state::faults(),
            leftovers::faults(),
            beside::faults(),
        ];
        parts.into_iter().flatten().collect()
    })
}

/// A fault that is there whatever is asked for.
fn always(
    name: impl Into<std::borrow::Cow<'static, str>>,
    about: impl Into<std::borrow::Cow<'static, str>>,
    imitates: impl Into<std::borrow::Cow<'static, str>>,
    breaks: &'static [&'static str],
    what: What,
) -> Fault {
    Fault {
        name: name.into(),
        about: about.into(),
        imitates: imitates.into(),
        breaks,
        harmless: false,
        blunt: false,
        hangs: false,
        tried_on: &[],
        lie: Lie { when: [When::Always; 2], what },
    }
}

impl Fault {
    /// The same, only then.
    fn when(mut self, when: When) -> Self {
        let [first, second] = &mut self.lie.when;
        let place = if *first == When::Always { first } else { second };
        *place = when;
        self
    }

    /// The same, which no case may notice.
    fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// The same, which refuses and does nothing else.
    fn blunt(mut self) -> Self {
        self.blunt = true;
        self
    }

    /// The same, tried with these cases only.
    fn tried_on(mut self, cases: &'static [&'static str]) -> Self {
        self.tried_on = cases;
        self
    }

    /// The same, which a case notices by never coming to its end.
    fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_words_with_hyphens() {
        let mut seen = BTreeSet::new();
        for fault in all() {
            let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(fault.name.chars().all(usual), "{}", fault.name);
            assert!(seen.insert(&fault.name), "{} is there twice", fault.name);
            assert!(fault.about.ends_with('.') && fault.imitates.ends_with('.'), "{}", fault.name);
        }
    }

    #[test]
    fn what_they_break_is_in_the_catalogue() {
        for fault in all() {
            assert!(fault.harmless == fault.breaks.is_empty(), "{}", fault.name);
            for id in fault.breaks {
                assert!(crate::spec::requirements::find(id).is_some(), "{}: {id}", fault.name);
            }
        }
    }
}
