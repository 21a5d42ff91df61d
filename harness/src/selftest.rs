//! Deliberately bad cases, which the harness must never let pass.
//!
//! A golden file pins their verdicts: `runners/tests/selftest.rs`.

use nix::sys::signal::{SigHandler, raise, signal};
use nix::unistd::{getpgrp, getppid, pause, setsid};

use crate::common::*;

/// A short deadline for the cases that never end.
const SOON: Duration = Duration::from_millis(300);

fn one() -> Call<u32> {
    Call::seen("one", 1)
}

/// Forks a process that runs `body`, which never returns.
fn forked(body: fn() -> !) -> Pid {
    // SAFETY: the cases of this file are single-threaded.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => body(),
        Ok(ForkResult::Parent { child }) => child,
        Err(errno) => panic!("fork: {errno:?}"),
    }
}

fn sleep_for_ever() -> ! {
    loop {
        pause();
    }
}

/// A case about the first of the harness's own requirements.
#[track_caller]
const fn bad(name: &'static str, about: &'static str, run: Body) -> Case {
    let at = Location::caller();
    Case { name, about, proves: &["SELF-01"], run, ..Case::declared_at(at.file(), at.line()) }
}

/// A case that never ends.
#[track_caller]
const fn endless(name: &'static str, about: &'static str, run: Body) -> Case {
    Case { deadline: SOON, ..bad(name, about, run) }
}

/// The cases, in the order in which they run.
pub static CASES: &[Case] = &[
    bad("selftest.pass", "One check that holds.", |t| t.check(one()).is(1)),
    Case {
        source: "nowhere",
        ..bad("selftest.fail", "A check that does not hold, then one more.", |t| {
            all([t.check(one()).is(2), t.check(one()).proves("SELF-02").is_not(1)])
        })
    },
    bad("selftest.fail_in_grandchild", "A check that does not hold, in a child of the case.", |t| {
        t.in_child(|t| t.check(one()).is(2))
    }),
    bad("selftest.skip", "A case that finds that it cannot run.", |t| Err(t.skip("there is no moon tonight"))),
    bad("selftest.skip_after_failure", "A skip does not wash away a failed check.", |t| {
        let _ = t.check(one()).is(2);
        Err(t.skip("too late"))
    }),
    bad("selftest.setup_fails", "A step that must work does not.", |t| {
        let nowhere = File::open("/nonexistent");
        t.setup(Call::io("open(/nonexistent)", nowhere))?;
        t.check(one()).is(1)
    }),
    bad("selftest.panic", "The case's own code panics.", |t| {
        t.check(one()).is(1)?;
        panic!("out of cheese")
    }),
    bad("selftest.exit_0_early", "exit(0) in the middle is no pass.", |t| {
        t.check(one()).is(1)?;
        exit_now(0)
    }),
    bad("selftest.grandchild_exits_0_early", "exit(0) in the middle of a grandchild is no pass.", |t| {
        t.check(one()).is(1)?;
        t.in_child(|_| exit_now(0))
    }),
    bad("selftest.exit_3", "An exit status of the case's own is no pass.", |t| {
        t.check(one()).is(1)?;
        exit_now(3)
    }),
    bad("selftest.no_check", "A case that checks nothing is no pass.", |_| Ok(())),
    bad("selftest.signal", "A case that a signal ends is no pass.", |t| {
        t.check(one()).is(1)?;
        let _ = raise(Signal::SIGSEGV);
        Ok(())
    }),
    bad("selftest.abort", "A case that aborts is no pass.", |_| std::process::abort()),
    endless("selftest.hang", "A case that never ends is killed at its deadline.", |_| sleep_for_ever()),
    endless(
        "selftest.hang_busy_ignoring_signals",
        "A busy case that ignores SIGTERM and SIGINT is killed at its deadline.",
        |_| {
            for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
                // SAFETY: ignores a signal.
                let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
            }
            loop {
                std::hint::spin_loop();
            }
        },
    ),
    bad("selftest.leaked_grandchild", "A grandchild in a session of its own outlives the case.", |t| {
        forked(|| {
            let _ = setsid();
            sleep_for_ever()
        });
        t.check(one()).is(1)
    }),
    Case {
        needs: Needs::ROOT,
        ..bad("selftest.leaked_mount", "A mount outlives the case.", |t| {
            let directory = t.directory()?;
            let mounted = mount(Some("none"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>);
            t.setup(Call::new("mount(tmpfs)", mounted))?;
            t.check(one()).is(1)
        })
    },
    Case {
        needs: Needs::ROOT.with(Feature::SYSV_IPC),
        ..bad("selftest.leaked_ipc_object", "A message queue outlives the case.", |t| {
            // SAFETY: msgget(2) takes numbers.
            let id = unsafe { libc::msgget(0x5e1f, libc::IPC_CREAT | 0o600) };
            t.setup(Call::new("msgget(0x5e1f, IPC_CREAT)", Errno::result(id)))?;
            t.check(one()).is(1)
        })
    },
    bad("selftest.leaked_file", "A file outside the private directory outlives the case.", |t| {
        t.setup(Call::io("write(stray)", fs::write("stray", "x")))?;
        t.check(one()).is(1)
    }),
    bad(
        "selftest.private_directory_vanishes",
        "What a case leaves in its private directory is no leak, read-only or not.",
        |t| {
            let inner = t.directory()?.join("a/b");
            t.setup(Call::io("mkdir", fs::create_dir_all(&inner)))?;
            t.setup(Call::io("write", fs::write(inner.join("c"), "x")))?;
            t.check(one()).is(1)
        },
    ),
    bad("selftest.all_descriptors_closed", "Records survive a case that closed every descriptor.", |t| {
        // SAFETY: closes what this process has open; it uses none of it again.
        unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
        t.check(one()).is(2)
    }),
    bad("selftest.output_flood", "A case that prints without end is stopped, and what it printed is cut.", |_| {
        let line = [b'x'; 65536];
        loop {
            // SAFETY: writes a live buffer to standard output.
            unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
        }
    }),
    bad("selftest.record_flood", "Records that do not fit are missed, not forgotten.", |t| {
        for _ in 0..10_000 {
            t.note("x".repeat(100));
        }
        t.check(one()).is(1)
    }),
    endless("selftest.fork_bomb", "Processes that keep forking are all found and killed.", |_| {
        // Three generations of eight; the last one stays.
        for _ in 0..8 {
            forked(|| {
                let _ = setsid();
                for _ in 0..8 {
                    forked(sleep_for_ever);
                }
                sleep_for_ever()
            });
        }
        sleep_for_ever()
    }),
    bad("selftest.kills_its_group", "A case that kills its process group ends only itself.", |_| {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
        Ok(())
    }),
    bad("selftest.kills_its_supervisor", "A case that kills its supervisor does not stop the run.", |t| {
        let _ = kill(getppid(), Signal::SIGKILL);
        t.check(one()).is(1)?;
        sleep_for_ever()
    }),
    endless("selftest.stops_its_supervisor", "A case whose supervisor hangs does not stop the run.", |t| {
        let _ = kill(getppid(), Signal::SIGSTOP);
        t.check(one()).is(1)?;
        sleep_for_ever()
    }),
    bad("selftest.survives_all_that", "The run goes on after every one of the above.", |t| t.check(one()).is(1)),
];
