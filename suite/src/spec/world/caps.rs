//! Capabilities of a task.

use crate::spec::prelude::*;

/// The capabilities of a task that bear on what a world does. All others follow CAP_SYS_ADMIN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The effective ones; the permitted are the same.
    pub effective: u64,
    /// What execve(2) can give.
    pub bounding: u64,
}

/// All that there are.
pub const FULL: Caps = Caps { effective: u64::MAX, bounding: u64::MAX };

impl Caps {
    /// All of these without CAP_SYS_ADMIN.
    pub fn without_sys_admin(self) -> Caps {
        Caps { effective: self.effective & !(1 << feature::CAP_SYS_ADMIN), ..self }
    }

    /// None of these.
    pub fn given_up(self) -> Caps {
        Caps { effective: 0, ..self }
    }

    /// What execve(2) makes of them (capabilities(7)): root has all of the bounding set again, unless a gain is refused
    /// to the task; everybody else has none.
    pub fn executed(self, is_root: bool, may_gain: bool) -> Caps {
        let all = if is_root { self.bounding } else { 0 };
        let gains = all & !self.effective != 0;
        Caps { effective: if gains && !may_gain { all & self.effective } else { all }, ..self }
    }
}
