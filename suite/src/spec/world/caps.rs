//! Capabilities of a task.

use crate::spec::prelude::*;

/// The capabilities of a task that bear on what a world does. All others follow CAP_SYS_ADMIN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The effective ones; the permitted are the same.
    pub effective: u64,
}

/// All that there are.
pub const FULL: Caps = Caps { effective: u64::MAX };

impl Caps {
    /// None.
    pub const NONE: Caps = Caps { effective: 0 };

    /// All of these without CAP_SYS_ADMIN.
    pub fn without_sys_admin(self) -> Caps {
        Caps { effective: self.effective & !(1 << feature::CAP_SYS_ADMIN) }
    }
}
