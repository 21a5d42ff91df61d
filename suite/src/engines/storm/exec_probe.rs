//! The program that a task of the storm executes: this one. It finds the segment through a
//! descriptor it inherited, says that it runs, and ends.

use std::ffi::c_char;
use std::process::ExitCode;

use super::*;
use crate::tasks::threads;

/// The argument that tells such a task from a user's call.
const ARGUMENT: &str = "--storm-task";

/// Argument vectors for the program, one for each task, ended as execve wants them.
pub(super) struct Arguments {
    _strings: Vec<CString>,
    vectors: Vec<[*const c_char; 5]>,
}

impl Arguments {
    /// Writes them down before there are tasks: afterwards nobody may allocate.
    pub(super) fn prepare(segment: i32, tasks: usize) -> Arguments {
        let string = |text: String| CString::new(text).unwrap_or_default();
        let mut strings =
            vec![string("unshare-conformance".to_owned()), string(ARGUMENT.to_owned()), string(segment.to_string())];
        strings.extend((0..tasks).map(|number| string(number.to_string())));
        let at = |index: usize| strings[index].as_ptr();
        let vectors = (0..tasks).map(|number| [at(0), at(1), at(2), at(3 + number), std::ptr::null()]).collect();
        Arguments { _strings: strings, vectors }
    }

    /// The vector of one task.
    pub(super) fn of(&self, number: usize) -> *const *const c_char {
        self.vectors[number].as_ptr()
    }
}

/// If this process was executed by a task of the storm, does what such a process does and gives
/// its exit status. Called first in `main`.
pub fn run_if_executed() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let mut number = || arguments.next()?.to_str()?.parse::<i32>().ok().filter(|number| *number >= 0);
    let (segment, task) = (number()?, number()?);
    let failed = Some(ExitCode::FAILURE);
    let Ok(task @ 0..MOST_TASKS) = usize::try_from(task) else {
        return failed;
    };
    // SAFETY: the descriptor was inherited and stays open until this process ends; what made it the size of a
    // segment wrote its number into the arguments. Where it is not open, nothing is mapped.
    let Ok(segment) = (unsafe { map_file::<Segment>(BorrowedFd::borrow_raw(segment)) }) else {
        return failed;
    };
    let slot = &segment.slots[task];
    slot.threads.store(threads::count() as u32, Ordering::Release);
    segment.reach(slot, Stage::Executed);
    Some(ExitCode::from(EXECUTED as u8))
}
