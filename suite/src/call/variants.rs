//! Variants of a case, named after their parameters.

use crate::spec::prelude::*;

/// A variant for each of these named parameters: the body reads its own with `t.param()`.
pub fn named<P: Clone + Send + Sync + 'static>(params: &[(&str, P)]) -> Vec<Variant> {
    params.iter().map(|(name, param)| Variant::new(*name, param.clone())).collect()
}

/// A variant for each of these sets of flags, named after it. It requires no more than that they can be passed: for
/// calls that need not succeed.
pub fn of_flags(flags: impl IntoIterator<Item = Flags>) -> Vec<Variant> {
    flags.into_iter().map(|flags| Variant::new(flags.slug(), flags).needing(passing(flags))).collect()
}

/// A variant for each of these sets of flags, which requires what a call with them requires in order to succeed.
pub fn succeeding(flags: impl IntoIterator<Item = Flags>) -> Vec<Variant> {
    flags.into_iter().map(|flags| Variant::new(flags.slug(), flags).needing(needs_of(flags))).collect()
}

/// A variant for each known flag, which requires what a call with it requires in order to succeed.
pub fn each_flag() -> Vec<Variant> {
    succeeding(Flags::KNOWN)
}

/// A variant for each kind of namespace that this kernel has; the parameter is its flag.
pub fn each_kind() -> Vec<Variant> {
    KINDS.map(|kind| Variant::new(kind.flag.slug(), kind.flag).needing(kind.built_in())).into()
}

/// The same but for these kinds.
pub fn each_kind_but(left_out: &[Flags]) -> Vec<Variant> {
    each_kind().into_iter().filter(|variant| !left_out.contains(&variant.param())).collect()
}

/// Every variant of `outer` with every one of `inner`: named `OUTER.INNER`, with both parameters as a pair.
pub fn product<A, B>(outer: &[(&str, A)], inner: &[Variant]) -> Vec<Variant>
where
    A: Clone + Send + Sync + 'static,
    B: Clone + Send + Sync + 'static,
{
    let pairs = outer.iter().flat_map(|outer| inner.iter().map(move |inner| (outer, inner)));
    pairs
        .map(|((name, a), inner)| {
            let param = (a.clone(), inner.param::<B>());
            let pair = Variant::new(format!("{name}.{}", inner.name), param).needing(inner.needs);
            pair.proving(inner.proves.clone())
        })
        .collect()
}
