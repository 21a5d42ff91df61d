//! A conformance case: one constant with everything a runner has to know.

use std::any::{Any, type_name};

use linkme::distributed_slice;

use crate::common::*;

/// Every case linked into this program. Filled by [`case!`](crate::case!); no list is kept by hand.
#[distributed_slice]
pub static CASES: [Case];

/// The body of a case.
pub type Body = fn(&Test) -> Done;

/// One conformance case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Dotted name; its first component is the group. `[a-z0-9_-]+(\.[a-z0-9_-]+)*`.
    pub name: &'static str,
    /// What it checks, for a reader who knows the call under test and no Rust: one sentence.
    pub about: &'static str,
    /// IDs of the requirements it proves (the catalogue has their texts).
    pub proves: &'static [&'static str],
    /// Where the requirement comes from: a section of the 2006 design document or of a manual page.
    pub source: &'static str,
    /// What it needs of the machine.
    pub needs: Needs,
    /// How long one run may take on real hardware before it counts as hanging.
    pub deadline: Duration,
    /// The first tier it is part of. Cases that cover a space which another case samples in the quick tier come later.
    pub from: Tier,
    /// Which of its variants are part of that tier.
    pub quick: Sample,
    /// How much work one run is in a tier, relative to an ordinary case: for estimates only.
    pub work: fn(Tier) -> u32,
    /// Its parameters; empty when the body runs once.
    pub variants: fn() -> Vec<Variant>,
    /// The body.
    pub run: Body,
    /// The file it is declared in.
    pub file: &'static str,
    /// The line it is declared at.
    pub line: u32,
}

/// Which of a case's variants belong to the quick tier, where that has the case at all; the others come with the full one.
///
/// For variants that differ in nothing but a flag, a kind of namespace or a bit, and where other cases of the quick tier
/// have the rest: together they have each, but not each with each. What a sample must not lose is tested: no
/// requirement, no kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    of: usize,
    first: usize,
}

impl Sample {
    /// All of them.
    pub const ALL: Sample = one_in(1, 0);

    fn has(self, at: usize) -> bool {
        at % self.of == self.first
    }
}

/// One in `of` variants, in the order of their list, from number `first` (0 is the first) on.
pub const fn one_in(of: usize, first: usize) -> Sample {
    assert!(first < of);
    Sample { of, first }
}

/// The same body with a named parameter of any type.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Added to the case's name after a dot.
    pub name: String,
    /// The requirements this variant proves, when not all of the case's.
    pub proves: Vec<&'static str>,
    /// What this variant needs beyond the case's needs.
    pub needs: Needs,
    param: Arc<dyn Any + Send + Sync>,
}

impl Variant {
    /// A variant that proves and needs what its case does. Its body reads `param` with [`Test::param`], by the same
    /// type.
    pub fn new<P: Any + Send + Sync>(name: impl Into<String>, param: P) -> Self {
        Self { name: name.into(), proves: Vec::new(), needs: Needs::NONE, param: Arc::new(param) }
    }

    /// Its parameter.
    ///
    /// # Panics
    /// It is of another type.
    pub fn param<P: Any + Clone>(&self) -> P {
        let param = self.param.downcast_ref().cloned();
        param.unwrap_or_else(|| panic!("the parameter of variant {} is no {}", self.name, type_name::<P>()))
    }

    /// The same variant, proving only these requirements.
    pub fn proving(mut self, proves: impl Into<Vec<&'static str>>) -> Self {
        self.proves = proves.into();
        self
    }

    /// The same variant, with more needs.
    pub fn needing(mut self, needs: Needs) -> Self {
        self.needs = self.needs.and(needs);
        self
    }
}

impl Case {
    /// How long a case may run by default. Cases take milliseconds; only a hanging kernel or a stalled machine takes
    /// this long.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// The defaults of a case that [`case!`](crate::case!) declares.
    pub const fn declared_at(file: &'static str, line: u32) -> Case {
        Case {
            name: "",
            about: "",
            proves: &[],
            source: "",
            needs: Needs::NONE,
            deadline: Case::DEADLINE,
            from: Tier::Quick,
            quick: Sample::ALL,
            work: |_| 1,
            variants: Vec::new,
            run: |test| Err(test.broken("case", "it has no body")),
            file,
            line,
        }
    }

    /// The first component of the name.
    pub fn group(&self) -> &'static str {
        group(self.name)
    }
}

/// The first component of a case's name.
pub(crate) fn group(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// One thing to run: a case, with one of its variants if it has any.
#[derive(Clone, Debug)]
pub struct Item {
    /// The full name, unique in the plan.
    pub name: String,
    /// The case.
    pub case: &'static Case,
    /// The variant.
    pub variant: Option<Variant>,
    /// The first tier it is part of.
    pub from: Tier,
}

impl Item {
    /// The requirements it proves.
    pub fn proves(&self) -> &[&'static str] {
        match &self.variant {
            Some(variant) if !variant.proves.is_empty() => &variant.proves,
            _ => self.case.proves,
        }
    }

    /// What it needs.
    pub fn needs(&self) -> Needs {
        self.variant.as_ref().map_or(self.case.needs, |variant| self.case.needs.and(variant.needs))
    }
}

/// How many variants a case has on average, for one allocation.
const USUAL_VARIANTS: usize = 4;

/// All items of these cases: groups in alphabetical order, within one the order of the source.
pub fn items(cases: &'static [Case]) -> Vec<Item> {
    let mut cases: Vec<_> = cases.iter().collect();
    // The linker gives the slice no order of its own.
    cases.sort_by_cached_key(|case| (case.group(), case.file, case.line));
    let mut items = Vec::with_capacity(cases.len() * USUAL_VARIANTS);
    for case in cases {
        let variants = (case.variants)();
        if variants.is_empty() {
            items.push(Item { name: case.name.to_owned(), case, variant: None, from: case.from });
        }
        items.extend(variants.into_iter().enumerate().map(|(at, variant)| Item {
            // Not format!: in an emulated guest it would take longer than the first case.
            name: [case.name, ".", &variant.name].concat(),
            case,
            variant: Some(variant),
            from: if case.quick.has(at) { case.from } else { case.from.max(Tier::Full) },
        }));
    }
    items
}

/// Declares a conformance case; the linker collects it.
///
/// ```ignore
/// case!(Case {
///     name: "directories.make",
///     about: "mkdir(2) creates an empty directory.",
///     proves: &["DIR-01"],
///     run: |t| { … }
/// });
/// ```
///
/// In round brackets, since rustfmt formats what stands in them.
#[macro_export]
macro_rules! case {
    (Case { $($field:ident : $value:expr),* $(,)? }) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::case::CASES)]
            #[linkme(crate = $crate::linkme)]
            static CASE: $crate::case::Case = $crate::case::Case {
                $($field: $value,)*
                ..$crate::case::Case::declared_at(::std::file!(), ::std::line!())
            };
        };
    };
}
