//! What is checked of unshare(2).
//!
//! Dependencies read downwards: feature ← spec ← observe ← call ← tasks, sharing, place ← engines ← cases.
//! `docs/architecture.md` has the rooms and the vocabulary.
//!
//! A function that gives `Done` ends the case as broken where a step that it needs is refused, and leaves a failed
//! check on record where something that it checks differs. Its documentation has a section `Errors` only where it ends
//! the case in another way.

/// What must hold: flags, the model of the call, requirements. No I/O.
pub mod spec {
    pub mod flags;
    pub mod manual_pages;
    pub mod model;
    pub mod namespaces;
    pub mod prelude;
    pub mod requirements;
    pub mod time;
    pub mod world;
}

/// How a task's state is read. No checks.
pub mod observe {
    pub mod fds;
    pub mod kcmp;
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

    pub use super::spec::namespaces::Ns;
    pub use kcmp::{Shared, shares, sharing};
    pub use observer::*;
    pub use proc_file::{number, statx};
    pub use state::{Difference, Place, State, differences, ids, place, place_of, text};
}

/// The call under test, and its one verb.
pub mod call {
    pub mod check;
    pub mod failing;
    pub mod raw;
    pub mod variants;
}

/// Tasks beside the caller.
pub mod tasks {
    pub mod barrier;
    pub mod end;
    pub mod executed;
    pub mod io_uring;
    pub mod peer;
    pub mod setuid_exec;
    pub mod shm;
    pub mod side;
    pub mod signals;
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
    mod filtered;
    mod lacks;
    pub mod limits;
    pub mod lock;
    pub mod lsm;
    pub mod mount_api;
    pub mod net_ids;
    mod netlink;
    pub mod nft;
    pub mod privilege;
    pub mod refused;
    pub mod seccomp;
    pub mod segments;
    pub mod sysctl;
    pub mod user_ns_switch;
    pub mod veth;
}

/// Cases that are programs.
pub mod engines {
    pub mod fail_nth;
    pub mod leak;
    pub mod race;
    pub mod storm;
    pub mod sweep;
    pub mod thread_states;
    pub mod walk;
}

pub mod cases;
pub mod fault;
pub mod feature;
pub mod prelude;
pub mod profile;

pub use feature::SUITE;
