//! The cases, a folder for each group. The first component of a case's name is its group.
//!
//! Written by `build.rs` from the files below `src/cases/`: add a file there, and build.

/// Every case of the suite, in no particular order.
pub fn all() -> &'static [harness::case::Case] {
    &harness::case::CASES
}

mod allocations;
mod atomicity {
    mod late;
    mod refused;
    mod state;
}
mod differences;
mod errors {
    mod debian;
    mod none;
    mod pid;
    mod place;
    mod support;
    mod user;
}
mod flags {
    mod bits;
    mod kernel_helpers;
    mod memory_sharers;
    mod mixes;
    mod result;
    mod second_threads;
    mod width;
    mod zero;
}
mod implied {
    mod sharing;
    mod undo;
}
mod interactions {
    mod close_range;
    mod exec;
    mod landlock;
    mod perf;
    mod ptrace;
    mod read_only;
    mod seccomp;
    mod setns;
    mod unrelated;
}
mod leaks;
mod limits {
    mod accounting;
    mod counts;
    mod hierarchy;
    mod kept;
    mod lives;
    mod nesting;
    mod processes;
    mod settings;
}
mod order {
    mod debian;
    mod descriptors;
    mod namespaces;
    mod privilege;
    mod user;
}
mod privilege;
mod races {
    mod children;
    mod ends;
    mod files;
    mod ipc;
    mod namespaces;
    mod places;
}
mod separation {
    mod cgroup;
    mod cgroup_reach;
    mod combined;
    mod empty;
    mod files;
    mod files_copy;
    mod files_memory;
    mod fs;
    mod fs_setuid;
    mod ipc;
    mod ipc_lives;
    mod ipc_mqueue;
    mod ipc_next_id;
    mod mnt;
    mod mnt_copies;
    mod mnt_foreign;
    mod mnt_groups;
    mod mnt_hidden;
    mod mnt_left;
    mod mnt_locked;
    mod mnt_others;
    mod mnt_played;
    mod mnt_reach;
    mod mnt_setuid;
    mod mnt_types;
    mod namespaces;
    mod namespaces_links;
    mod namespaces_listed;
    mod net;
    mod net_contents;
    mod net_ids;
    mod net_pairs;
    mod net_proc;
    mod net_sysctls;
    mod pid;
    mod pid_ends;
    mod pid_init;
    mod pid_reach;
    mod pid_views;
    mod settings_owner;
    mod sysvsem;
    mod sysvsem_adjust;
    mod time;
    mod time_absolute;
    mod time_clocks;
    mod time_far;
    mod time_offsets;
    mod time_readings;
    mod time_tasks;
    mod user;
    mod user_attributes;
    mod user_files;
    mod user_id_maps;
    mod user_limits;
    mod user_maps;
    mod user_nested_ids;
    mod user_powers;
    mod user_syntax;
    mod user_unmapped;
    mod user_without_right;
    mod uts;
    mod uts_rights;
    mod vm;
}
mod storm;
mod sweep;
mod walks;
