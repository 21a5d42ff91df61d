//! What a task of the storm does. It allocates nothing and writes no errno: the tasks of one kind
//! of storm share their memory, and with it the C library's state.

use super::segment::now;
use super::*;

/// The exit status of a task that calls _exit.
pub const fn exit_status(number: usize) -> i32 {
    128 + number as i32
}

/// The exit status of a task that unshared, and of a thread group that came to its end.
pub const UNSHARED: i32 = 40;
/// The exit status of the executed program.
pub const EXECUTED: i32 = 41;
/// The exit status of a task whose execve failed.
pub const EXEC_FAILED: i32 = 42;

impl Orders {
    /// Looks at the task at hand.
    pub fn view(&self) -> View {
        let mut traces = 0;
        for number in 0..self.actions.len() {
            if fds::is_open(Trace::of_task(number).descriptor) {
                traces |= 1 << number;
            }
        }
        View { state: self.observer.state_without_descriptors(), directory: place_of(self.directory), traces }
    }

    /// Gets ready, waits for the round to begin, acts. Ends the task, or gives the exit status for
    /// the caller to end it with.
    pub fn carry_out(&self) -> i32 {
        let slot = self.slot();
        if self.semaphores >= 0 {
            // That it was not taken shows in the end.
            let _ = take_with_undo(self.semaphores);
        }
        let tid = call!(gettid).unwrap_or(0);
        slot.tid.store(tid as u32, Ordering::Release);
        if let Some(cpu) = self.cpu {
            stay_on(cpu);
        }
        // To look takes longer than all else: only those do that are compared with it.
        if matches!(self.action, Action::Unshare(_)) {
            slot.leave(Which::Before, self.view());
        }
        self.segment.reach(slot, Stage::Ready);
        self.segment.go.wait_while(0);
        give_way_until(&self.segment.awake, self.actions.len() as u32);
        slot.reach(Stage::Acting);
        meet(&self.segment.waiting);
        slot.began.store(now(), Ordering::Release);
        match self.action {
            Action::Exec => self.execute(),
            Action::Exit => {
                let _ = call!(exit_group, exit_status(self.number));
                EXEC_FAILED
            }
            Action::ExitThread => {
                self.segment.reach(slot, Stage::Done);
                // Ends the thread at hand alone; nobody joins it.
                let _ = call!(exit, 0);
                EXEC_FAILED
            }
            Action::Unshare(flags) => self.unshare(flags),
            Action::Disturb(role) => self.disturb(role),
        }
    }

    fn execute(&self) -> i32 {
        let environment: [*const libc::c_char; 1] = [std::ptr::null()];
        let (path, environment) = (c"".as_ptr(), environment.as_ptr());
        if let Err(errno) = call!(execveat, self.program, path, self.arguments, environment, libc::AT_EMPTY_PATH) {
            self.slot().result.store(-i64::from(errno.into_raw()), Ordering::Release);
        }
        EXEC_FAILED
    }

    fn unshare(&self, flags: Flags) -> i32 {
        let slot = self.slot();
        let result = unshare_raw(flags);
        slot.ended.store(now(), Ordering::Release);
        // Looking takes longer than calling: all call before any looks, side by side.
        give_way_until(&self.segment.returned, self.unsharers);
        slot.result.store(result, Ordering::Release);
        slot.leave(Which::After, self.view());
        if result == 0 {
            slot.leaving.store(self.leave_traces(flags), Ordering::Release);
        }
        self.segment.reach(slot, Stage::Done);
        self.segment.settle.wait_while(0);
        slot.leave(Which::Settled, self.view());
        self.segment.reach(slot, Stage::Settled);
        self.segment.end.wait_while(0);
        UNSHARED
    }

    /// Changes what the task now has to itself. Gives 0, or −errno of the first step that failed.
    fn leave_traces(&self, flags: Flags) -> i64 {
        let all = with_implied(flags);
        let steps = || {
            Trace::of_task(self.number).leave(all)?;
            let name = [b's', b'-', b'0' + self.number as u8];
            if all.contains(Flags::NEWUTS) {
                call!(sethostname, name.as_ptr(), name.len()).map_err(fds::errno)?;
            }
            // An empty mount namespace has no directory to mount on.
            if all.contains(Flags::NEWNS) && !all.contains(Flags::EMPTY) {
                let (kind, none, directory) = (c"tmpfs".as_ptr(), std::ptr::null::<u8>(), self.directory.as_ptr());
                call!(mount, kind, directory, kind, 0, none).map_err(fds::errno)?;
            }
            Ok(())
        };
        steps().map_or_else(|errno: Errno| -i64::from(errno as i32), |()| 0)
    }
}

/// Keeps the calling task on one CPU.
fn stay_on(cpu: usize) {
    // SAFETY: an empty set is a valid one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes to a live set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // A CPU that was taken away meanwhile is no failure: the task then runs where it may.
    let _ = call!(sched_setaffinity, 0, size_of_val(&set), &raw const set);
}

/// Counts the task at hand and lets others run until all are counted.
///
/// A futex wakes its waiters one after the other, and on a machine with fewer CPUs than tasks the
/// first is done before the last is awake; so each gives way. If the others do not come within a
/// bounded number of turns (they may have ended), the round goes on all the same.
fn give_way_until(counter: &AtomicU32, all: u32) {
    const TURNS: u32 = 2000;
    counter.fetch_add(1, Ordering::AcqRel);
    for _ in 0..TURNS {
        if counter.load(Ordering::Acquire) >= all {
            break;
        }
        let _ = call!(sched_yield);
    }
}

/// Waits a moment for another task to come here, and both go on at once.
///
/// With fewer CPUs than tasks, those that are awake still act one after the other on each CPU: a call is over long
/// before the next begins, and next to none would overlap. Two that run side by side meet here.
fn meet(waiting: &AtomicU32) {
    /// About as long as a task takes to get here. One that is alone goes on.
    const LOOKS: u32 = 5000;
    if waiting.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_err() {
        waiting.store(0, Ordering::Release);
        return;
    }
    for _ in 0..LOOKS {
        if waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        std::hint::spin_loop();
    }
    let _ = waiting.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire);
}
