//! Stand-ins for broken kernels: what proves that every check can fail.
//!
//! A fault is a named lie about unshare(2). While one is active, a seccomp filter traps every call
//! that a case makes, and a handler of SIGSYS answers as a kernel with that fault would.
//!
//! | module | answers |
//! |---|---|
//! | [`stand_in`] | how the call is taken from the kernel, and made after all |
//! | [`lie`] | what a faulty kernel does instead, as data |
//! | [`act`] | things that a faulty kernel changes besides |
//! | [`table`] | which faults there are |
//! | [`declared`] | what cannot be simulated, and what covers it instead |

pub mod act;
pub mod declared;
pub mod lie;
pub mod stand_in;
pub mod table;

use std::borrow::Cow;

use serde::Serialize;

use lie::Lie;

/// A named lie about unshare(2).
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// What `--fault` takes: words with hyphens.
    pub name: Cow<'static, str>,
    /// What the faulty kernel does, in one sentence.
    pub about: Cow<'static, str>,
    /// Which bug of a kernel would look like that.
    pub imitates: Cow<'static, str>,
    /// Requirements that it breaks, for example.
    pub breaks: &'static [&'static str],
    /// No check may fail with it: a kernel may be like that.
    pub harmless: bool,
    /// It refuses what is asked, or never answers: that a case notices this says little of its other
    /// checks, and is not enough for it.
    pub blunt: bool,
    /// A case that does not end has noticed it, too.
    pub hangs: bool,
    /// Where a case takes long to notice it: only those whose names begin so are tried. Empty: all.
    pub tried_on: &'static [&'static str],
    /// What is done instead of the call.
    #[serde(skip)]
    pub lie: Lie,
}

impl Fault {
    /// Whether a case of this name is tried.
    pub fn is_tried_on(&self, case: &str) -> bool {
        self.tried_on.is_empty() || self.tried_on.iter().any(|name| case.starts_with(name))
    }
}

/// The fault of this name.
pub fn find(name: &str) -> Option<&'static Fault> {
    table::all().iter().find(|fault| fault.name == name)
}
