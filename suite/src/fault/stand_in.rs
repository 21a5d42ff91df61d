//! How the call under test is taken from the kernel.
//!
//! A seccomp filter, installed in each case's child before its body, traps unshare(2) by each of its entries unless the
//! sixth argument, which the call does not have, is a magic number. The handler of SIGSYS runs in the calling task
//! itself: it has the task's identity, makes the call as often as the fault requires, by the entry it came through, and
//! changes whatever the task could. Threads, vfork children and all other descendants inherit both filter and handler.
//!
//! Why not seccomp's user notification: a supervisor can answer for the kernel, but cannot make the call for the
//! caller. Why not ptrace(2): a task has one tracer, and cases are tracers themselves. SECCOMP_RET_TRAP comes before
//! all that the filters of cases answer (errno, notification), and a call that the handler makes meets these. A tracer
//! sees the trapped call end, then SIGSYS, which it has to pass on, then the call that the handler makes.
//!
//! execve(2) keeps the filter and forgets the handler. No program that a case executes calls unshare(2); one that did
//! would be ended by SIGSYS, which no case takes for a success.
//!
//! The handler makes raw system calls and touches its own stack and shared memory, nothing else: it may run in a task
//! that shares its memory, even its thread-local storage, with others.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use crate::spec::prelude::*;

use super::lie::Fault;
use super::trapped::{Entry, Ledger, MAGIC, Trapped, issue, root_inode};
use crate::call::raw::UNSHARE_IA32;
use crate::place::seccomp::{give, if_equal, load, set_filter, statement};
use crate::spec::prelude::abi::layout::HALVES;
use crate::tasks::shm::map_zeroed;

/// What the filter's traps carry, so that they are not mistaken for those of a case's own filter.
const MARK: u16 = 0x5eef;

static FAULT: AtomicPtr<Fault> = AtomicPtr::new(std::ptr::null_mut());
static LEDGER: AtomicPtr<Ledger> = AtomicPtr::new(std::ptr::null_mut());

/// Chooses the fault of the cases that run from now on.
pub fn choose(fault: &'static Fault) {
    FAULT.store(std::ptr::from_ref(fault).cast_mut(), Ordering::Release);
}

/// Puts the stand-in between the kernel and the process at hand, with all its descendants. Does nothing if no fault was
/// chosen.
///
/// # Errors
/// This kernel has no filters, or the caller may not install one.
pub fn install() -> Result<(), Errno> {
    if FAULT.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    // SAFETY: zeroes are a valid ledger.
    let ledger = unsafe { map_zeroed::<Ledger>() };
    let ledger: &'static Ledger = ledger.map_err(|_| Errno::ENOMEM)?;
    ledger.root.store(root_inode(), Ordering::Release);
    LEDGER.store(std::ptr::from_ref(ledger).cast_mut(), Ordering::Release);
    trap()
}

const SYS_SECCOMP: i32 = 1;

/// struct siginfo of SIGSYS.
#[repr(C)]
struct Info {
    signal: i32,
    data: i32,
    code: i32,
    address: *const c_void,
    number: i32,
    architecture: u32,
}

/// Installs handler and filter.
fn trap() -> Result<(), Errno> {
    // SAFETY: the handler keeps to the rules of this module; the structures live through the calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        Errno::result(libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()))?;
    }
    set_filter(&mut filter(), 0).map(drop)
}

fn filter() -> [libc::sock_filter; 14] {
    // Where struct seccomp_data has them.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const SIXTH: u32 = 56;
    let [low, high] = HALVES.map(|half| SIXTH + half);
    // No architecture has 0.
    let compat = abi::COMPAT.map_or(0, |compat| compat.audit);
    [
        load(ARCHITECTURE),
        if_equal(compat, 0, 2),
        load(NUMBER),
        if_equal(UNSHARE_IA32, 4, 9),
        if_equal(abi::AUDIT, 0, 8),
        load(NUMBER),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, abi::NUMBER_MASK),
        if_equal(Sysno::unshare as u32, 0, 5),
        load(low),
        if_equal(MAGIC, 0, 2),
        load(high),
        if_equal(0, 1, 0),
        give(libc::SECCOMP_RET_TRAP | MARK as u32),
        give(libc::SECCOMP_RET_ALLOW),
    ]
}

extern "C" fn handle(_: i32, info: *const Info, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, context) = unsafe { (&*info, &mut *context) };
    let (entry, flags) = match abi::COMPAT {
        Some(compat) if info.architecture == compat.audit => (Entry::Compat, (compat.argument)(context)),
        _ => (Entry::Native(info.number as u32), abi::argument(context)),
    };
    let (fault, ledger) = (FAULT.load(Ordering::Acquire), LEDGER.load(Ordering::Acquire));
    let ours = info.code == SYS_SECCOMP && info.data == i32::from(MARK);
    let result = if ours && !fault.is_null() && !ledger.is_null() {
        let mask = (&raw mut context.uc_sigmask).cast::<u64>();
        // SAFETY: both were set from references that live for ever; the kernel's signal mask is one word.
        let (fault, ledger, mask) = unsafe { (&*fault, &*ledger, &mut *mask) };
        let call = ledger.calls.fetch_add(1, Ordering::Relaxed);
        fault.answer(&mut Trapped { flags, entry, ledger, mask }, call)
    } else {
        // A case's own filter has trapped the call: it does so again, and SIGSYS, which is blocked here, ends the
        // task as it would have.
        issue(entry, flags)
    };
    abi::set_result(context, result, entry == Entry::Compat);
}
