//! What is checked of unshare(2).
//!
//! Dependencies read downwards: spec ← observe ← call ← tasks, sharing, place ← engines ← cases. `docs/architecture.md`
//! has the rooms and the vocabulary.

/// What must hold: flags, the model of the call, requirements. No I/O.
pub mod spec {
    pub mod flags;
    pub mod model;
    pub mod requirements;
}

/// How a task's state is read. No checks.
pub mod observe {
    pub mod kernel;
    pub mod mounts;
    pub mod nsfd;
    pub mod observer;
    mod proc_file;
    mod state;

    /// How many objects the kernel holds, and whether calls make them more.
    pub mod objects {
        pub mod gauges;
        pub mod growth;
        pub mod late_free;
    }

    pub use observer::*;
    pub use state::{Difference, Place, State, differences};
}

/// The call under test, and its one verb.
pub mod call {
    pub mod check;
    pub mod failing;
    pub mod raw;
}

/// Tasks beside the caller.
pub mod tasks {
    pub mod executed;
    pub mod io_uring;
    pub mod memory_sharer;
    pub mod peer;
    pub mod setuid_exec;
    pub mod shm;
    pub mod side;
    pub mod threads;
    pub mod vm;
}

/// Whether two tasks still share.
pub mod sharing {
    pub mod probe;
    pub mod sibling;
    pub mod undo;
}

/// What a case changes around itself.
pub mod place {
    pub mod cgroup;
    pub mod clock;
    pub mod limits;
    pub mod lsm;
    pub mod mount_api;
    pub mod nft;
    pub mod privilege;
    pub mod seccomp;
    pub mod sysctl;
}

/// Cases that are programs.
pub mod engines {
    pub mod fail_nth;
    pub mod race;
    pub mod storm;
    pub mod sweep;
    pub mod thread_states;
}

pub mod cases;
pub mod fault;

/// What a file of cases needs: `use crate::prelude::*;`.
pub mod prelude {
    pub use crate::call::check::{check_call, check_call_by, check_changes};
    pub use crate::call::raw::{unshare, unshare_ia32};
    pub use crate::observe::{self, Ns, Observer, State, kernel};
    pub use crate::place::privilege::become_unprivileged;
    pub use crate::spec::flags::Flags;
    pub use crate::spec::model::{self, Part, Parts};
    pub use crate::tasks::peer::Peer;
    pub use crate::tasks::vm::VmTask;
    pub use harness::prelude::*;
}
