//! A System V semaphore set of a case's own.

use harness::prelude::*;

/// A set of one semaphore, without a key. Removed when dropped.
#[derive(Debug)]
pub struct SemaphoreSet {
    id: i32,
    owner: u32,
}

impl SemaphoreSet {
    /// Makes a set whose semaphore has this value.
    ///
    /// # Errors
    /// It cannot be made: the case is broken.
    #[track_caller]
    pub fn new(t: &Test, value: i32) -> Done<Self> {
        // SAFETY: semget(2) takes numbers.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        let id = t.setup(Call::new("semget(IPC_PRIVATE, 1)", Errno::result(id)))?;
        let set = Self {
            id,
            owner: std::process::id(),
        };
        // SAFETY: SETVAL takes a number.
        let result = unsafe { libc::semctl(id, 0, libc::SETVAL, value) };
        t.setup(Call::new(
            format!("semctl(SETVAL, {value})"),
            Errno::result(result),
        ))?;
        Ok(set)
    }

    /// Its ID.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The semaphore's value, in the IPC namespace of the caller.
    pub fn value(&self) -> Call<i32> {
        // SAFETY: GETVAL takes nothing more.
        let value = unsafe { libc::semctl(self.id, 0, libc::GETVAL) };
        Call::new("semctl(GETVAL)", Errno::result(value))
    }

    /// Adds to the semaphore, noting to undo it when the undo list is given up.
    pub fn add_with_undo(&self, amount: i16) -> Call<()> {
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: amount,
            sem_flg: (libc::SEM_UNDO | libc::IPC_NOWAIT) as i16,
        };
        // SAFETY: one live operation.
        let result = unsafe { libc::semop(self.id, &raw mut operation, 1) };
        Call::new(
            format!("semop({amount}, SEM_UNDO)"),
            Errno::result(result).map(drop),
        )
    }
}

impl Drop for SemaphoreSet {
    fn drop(&mut self) {
        // A child that inherited it must not remove it.
        if std::process::id() == self.owner {
            // SAFETY: IPC_RMID takes nothing more.
            unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
        }
    }
}
