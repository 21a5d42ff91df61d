//! A System V semaphore, and what SEM_UNDO has a task's undo list remember of it.
//!
//! The undo list is what CLONE_SYSVSEM shares. It cannot be read; it shows when its last user
//! leaves it: then all its adjustments are applied.

use crate::observe::fds;
use crate::spec::prelude::abi::layout::Semun;
use crate::spec::prelude::*;
use crate::tasks::side::Side;

/// A set of one semaphore, removed when dropped by the task that made it.
#[derive(Debug)]
pub struct Semaphore {
    id: i32,
    owner: Pid,
}

fn get(key: i32, flags: i32) -> Result<i32, Errno> {
    // SAFETY: semget takes numbers.
    Errno::result(unsafe { libc::semget(key, 1, flags) })
}

/// The value of a set's semaphore. Writes no errno.
///
/// # Errors
/// As semctl(2).
pub fn value(id: i32) -> Result<i32, Errno> {
    call!(semctl, id, 0, libc::GETVAL, 0).map(|value| value as i32).map_err(fds::errno)
}

/// Sets the value, and clears what undo lists remember of the semaphore.
///
/// # Errors
/// As semctl(2).
pub fn set(id: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: SETVAL takes a number.
    Errno::result(unsafe { libc::semctl(id, 0, libc::SETVAL, Semun::of_value(value)) }).map(drop)
}

/// Takes one, to be undone. Writes no errno.
///
/// # Errors
/// As semop(2).
pub fn take_with_undo(id: i32) -> Result<(), Errno> {
    add_with_undo((id, -1))
}

/// Adds a number (negative: takes) with SEM_UNDO, without waiting.
fn add_with_undo((id, number): (i32, i16)) -> Result<(), Errno> {
    let operation = libc::sembuf { sem_num: 0, sem_op: number, sem_flg: (libc::SEM_UNDO | libc::IPC_NOWAIT) as i16 };
    abi::semop(id as usize, &mut [operation]).map(drop).map_err(fds::errno)
}

/// Adds a number without SEM_UNDO; a negative one waits for its turn, or fails.
pub fn add((id, number, waits): (i32, i16, bool)) -> Result<(), Errno> {
    let flags = if waits { 0 } else { libc::IPC_NOWAIT };
    let mut operation = libc::sembuf { sem_num: 0, sem_op: number, sem_flg: flags as i16 };
    loop {
        // SAFETY: one operation that lives through the call.
        match Errno::result(unsafe { libc::semop(id, &raw mut operation, 1) }) {
            // The process was stopped and continued.
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// semctl(2) with a command that only takes the number of the semaphore.
pub fn control(id: i32, command: i32) -> Result<i32, Errno> {
    // SAFETY: GETPID, GETNCNT and IPC_RMID take no further argument.
    Errno::result(unsafe { libc::semctl(id, 0, command) })
}

impl Semaphore {
    /// Makes one with this value.
    #[track_caller]
    pub fn new(t: &Test, start: i32) -> Done<Self> {
        let id = t.setup(Call::new("semget(IPC_PRIVATE, 1)", get(libc::IPC_PRIVATE, 0o666)))?;
        let semaphore = Self { id, owner: getpid() };
        t.setup(Call::new("semctl(SETVAL)", set(id, start)))?;
        Ok(semaphore)
    }

    /// The same; nothing where the kernel has no semaphores.
    #[track_caller]
    pub fn where_there(t: &Test, start: i32) -> Done<Option<Self>> {
        t.facts().has(feature::SYSV_IPC).then(|| Self::new(t, start)).transpose()
    }

    /// Its ID.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Has one side add a number (negative: take) with SEM_UNDO.
    #[track_caller]
    pub fn add_with_undo(&self, t: &Test, side: Side, number: i16) -> Done {
        let text = format!("semop({number:+}, SEM_UNDO)");
        side.must(t, &text, (self.id, number), add_with_undo)
    }

    /// Its value as one side reads it.
    #[track_caller]
    pub fn value(&self, t: &Test, side: Side) -> Done<Call<i32>> {
        side.ask(t, "semctl(GETVAL)", self.id, value)
    }

    /// Checks its value as the caller reads it. `when` says after what.
    #[track_caller]
    pub fn check_value(&self, t: &Test, when: &str, expected: i32, requirement: &'static str) -> Done {
        let call = Call::new(format!("semctl(GETVAL) {when}"), value(self.id));
        t.check(call).proves(requirement).is(expected)
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        if self.owner == getpid() {
            // SAFETY: IPC_RMID takes no further argument.
            unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
        }
    }
}
