//! What is checked of unshare(2).
//!
//! | module | answers |
//! |---|---|
//! | [`cases`] | the cases, a file for each resource or theme |
//! | [`flags`], [`sys`] | the flags and the raw system call under test |
//! | [`observe`] | what a task's state is and how it is read |
//! | [`model`] | what unshare(2) must do: the only place where an expectation is computed |
//! | [`fail_nth`] | calls whose nth allocation fails, for every n |
//! | [`fault`] | stand-ins for broken kernels |
//! | [`failing`] | ways for a call to fail late |
//! | [`gauges`], [`growth`] | how many objects the kernel holds, and whether calls make them more |
//! | [`late_free`] | what the kernel frees in its own time, freed now |
//! | [`limits`] | limits on the number of namespaces |
//! | [`judged`] | one call, compared with the model in all its effects |
//! | [`sweep`] | the whole space of flags in one state |
//! | [`storm`] | the concurrent group |
//! | [`peer`], [`vm_task`], [`thread_group`], [`ring`] | tasks that share something with the caller |
//! | [`sharing`] | whether they still do |
//! | [`race`] | a few tasks against each other, in rounds |
//! | [`row`] | every flag in one state of threads and sharers |
//! | [`shared_memory`] | memory that stays shared whatever happens |
//! | [`side`], [`mark`], [`memory_sharer`] | whether two tasks share, told by what one sees of the other |
//! | [`security_module`] | a security module that refuses the caller user namespaces |
//! | [`semaphores`], [`mount_table`], [`new_mount_api`], [`netfilter`], [`executed`], [`raised`], [`seccomp`], [`namespace_file`], [`control_group`], [`sysctl`], [`clock`] | further things that cases look at |
//! | [`requirements`] | the catalogue of requirements that cases cite |

pub mod cases;
pub mod clock;
pub mod control_group;
pub mod executed;
pub mod fail_nth;
pub mod failing;
pub mod fault;
pub mod flags;
pub mod gauges;
pub mod growth;
pub mod judged;
pub mod late_free;
pub mod limits;
pub mod mark;
pub mod memory_sharer;
pub mod model;
pub mod mount_table;
pub mod namespace_file;
pub mod netfilter;
pub mod new_mount_api;
pub mod observe;
pub mod peer;
pub mod privilege;
pub mod race;
pub mod raised;
pub mod requirements;
pub mod ring;
pub mod row;
pub mod seccomp;
pub mod security_module;
pub mod semaphores;
pub mod shared_memory;
pub mod sharing;
pub mod side;
pub mod storm;
pub mod sweep;
pub mod sys;
pub mod sysctl;
pub mod thread_group;
pub mod vm_task;

/// What a file of cases needs: `use crate::prelude::*;`.
pub mod prelude {
    pub use crate::flags::Flags;
    pub use crate::judged::{check_call, check_call_by, check_changes};
    pub use crate::model::{self, Part, Parts};
    pub use crate::observe::{self, Ns, Observer, State};
    pub use crate::peer::Peer;
    pub use crate::privilege::become_unprivileged;
    pub use crate::sys::{unshare, unshare_ia32};
    pub use crate::vm_task::VmTask;
    pub use harness::prelude::*;
}
