//! Being the init of a guest: this very program, started by a kernel and nothing else.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use vm::initramfs::{Initramfs, read_stripped};

use super::machine::in_memory;

/// The guest's image: this program as `/init`, without what only debuggers read.
///
/// # Errors
/// The program cannot be read, or memory is short.
pub fn initramfs() -> anyhow::Result<OwnedFd> {
    in_memory(&Initramfs::new(program()?))
}

/// This program, without what only debuggers read.
///
/// # Errors
/// It cannot be read.
pub fn program() -> anyhow::Result<Vec<u8>> {
    read_stripped(Path::new("/proc/self/exe")).context("cannot read this program")
}

/// If this process is the init of a guest, does all that one does and never comes back.
pub fn run_if_init() -> Option<ExitCode> {
    if !vm::init::is_guest_init() {
        return None;
    }
    // To know the place takes an emulated guest as long as to read its command line and to choose its cases.
    let scout = || harness::run::pool::facts_as_json().unwrap_or_default();
    match vm::init::set_up(scout, crate::cli::prepare_in_guest) {
        Ok((guest, scouted, prepared)) => {
            super::fault::prepare(guest.arguments());
            guest.supervise(|guest| {
                // What could not be learnt, or not be read back, the run learns itself, and says why it cannot.
                let facts = serde_json::from_slice(&scouted).ok();
                match guest.results() {
                    Ok(results) => crate::cli::in_guest(prepared, facts, results).code(),
                    Err(error) => {
                        eprintln!("unshare-conformance: no results channel: {error}");
                        125
                    }
                }
            })
        }
        Err(error) => vm::init::give_up(&vm::chain(&error)),
    }
}
