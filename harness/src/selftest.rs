//! Deliberately bad cases, which the harness must never let pass.
//!
//! A golden file pins their verdicts: `runners/tests/selftest.rs`.

use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigHandler, Signal, kill, killpg, raise, signal};
use nix::unistd::{ForkResult, Pid, fork, getpgrp, getppid, pause, setsid};

use crate::case::needs::Feature;
use crate::prelude::*;

/// A short deadline for the cases that never end.
const SOON: Duration = Duration::from_millis(300);

fn one() -> Call<u32> {
    Call::seen("one", 1)
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the process as the case under test is meant to.
    unsafe { libc::_exit(status) }
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

selftest_case!(Case {
    name: "selftest.pass",
    about: "One check that holds.",
    proves: &["SELF-01"],
    run: |t| t.check(one()).is(1)
});

selftest_case!(Case {
    name: "selftest.fail",
    about: "A check that does not hold, then one more.",
    proves: &["SELF-01"],
    source: "nowhere",
    run: |t| all([t.check(one()).is(2), t.check(one()).proves("SELF-02").is_not(1)])
});

selftest_case!(Case {
    name: "selftest.fail_in_grandchild",
    about: "A check that does not hold, in a child of the case.",
    proves: &["SELF-01"],
    run: |t| t.in_child(|t| t.check(one()).is(2))
});

selftest_case!(Case {
    name: "selftest.skip",
    about: "A case that finds that it cannot run.",
    proves: &["SELF-01"],
    run: |t| Err(t.skip("there is no moon tonight"))
});

selftest_case!(Case {
    name: "selftest.skip_after_failure",
    about: "A skip does not wash away a failed check.",
    proves: &["SELF-01"],
    run: |t| {
        let _ = t.check(one()).is(2);
        Err(t.skip("too late"))
    }
});

selftest_case!(Case {
    name: "selftest.setup_fails",
    about: "A step that must work does not.",
    proves: &["SELF-01"],
    run: |t| {
        let nowhere = std::fs::File::open("/nonexistent");
        t.setup(Call::io("open(/nonexistent)", nowhere))?;
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.panic",
    about: "The case's own code panics.",
    proves: &["SELF-01"],
    run: |t| {
        t.check(one()).is(1)?;
        panic!("out of cheese")
    }
});

selftest_case!(Case {
    name: "selftest.exit_0_early",
    about: "exit(0) in the middle is no pass.",
    proves: &["SELF-01"],
    run: |t| {
        t.check(one()).is(1)?;
        exit(0)
    }
});

selftest_case!(Case {
    name: "selftest.grandchild_exits_0_early",
    about: "exit(0) in the middle of a grandchild is no pass.",
    proves: &["SELF-01"],
    run: |t| {
        t.check(one()).is(1)?;
        t.in_child(|_| exit(0))
    }
});

selftest_case!(Case {
    name: "selftest.exit_3",
    about: "An exit status of the case's own is no pass.",
    proves: &["SELF-01"],
    run: |t| {
        t.check(one()).is(1)?;
        exit(3)
    }
});

selftest_case!(Case {
    name: "selftest.no_check",
    about: "A case that checks nothing is no pass.",
    proves: &["SELF-01"],
    run: |_| Ok(())
});

selftest_case!(Case {
    name: "selftest.signal",
    about: "A case that a signal ends is no pass.",
    proves: &["SELF-01"],
    run: |t| {
        t.check(one()).is(1)?;
        let _ = raise(Signal::SIGSEGV);
        Ok(())
    }
});

selftest_case!(Case {
    name: "selftest.abort",
    about: "A case that aborts is no pass.",
    proves: &["SELF-01"],
    run: |_| std::process::abort()
});

selftest_case!(Case {
    name: "selftest.hang",
    about: "A case that never ends is killed at its deadline.",
    proves: &["SELF-01"],
    deadline: SOON,
    run: |_| sleep_for_ever()
});

selftest_case!(Case {
    name: "selftest.hang_busy_ignoring_signals",
    about: "A busy case that ignores SIGTERM and SIGINT is killed at its deadline.",
    proves: &["SELF-01"],
    deadline: SOON,
    run: |_| {
        for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: ignores a signal.
            let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
        }
        loop {
            std::hint::spin_loop();
        }
    }
});

selftest_case!(Case {
    name: "selftest.leaked_grandchild",
    about: "A grandchild in a session of its own outlives the case.",
    proves: &["SELF-01"],
    run: |t| {
        forked(|| {
            let _ = setsid();
            sleep_for_ever()
        });
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.leaked_mount",
    about: "A mount outlives the case.",
    proves: &["SELF-01"],
    needs: Needs::ROOT,
    run: |t| {
        let directory = t.directory()?;
        let mounted = mount(Some("none"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>);
        t.setup(Call::new("mount(tmpfs)", mounted))?;
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.leaked_ipc_object",
    about: "A message queue outlives the case.",
    proves: &["SELF-01"],
    needs: Needs::ROOT.with(Feature::SYSV_IPC),
    run: |t| {
        // SAFETY: msgget(2) takes numbers.
        let id = unsafe { libc::msgget(0x5e1f, libc::IPC_CREAT | 0o600) };
        t.setup(Call::new("msgget(0x5e1f, IPC_CREAT)", Errno::result(id)))?;
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.leaked_file",
    about: "A file outside the private directory outlives the case.",
    proves: &["SELF-01"],
    run: |t| {
        t.setup(Call::io("write(stray)", std::fs::write("stray", "x")))?;
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.private_directory_vanishes",
    about: "What a case leaves in its private directory is no leak, read-only or not.",
    proves: &["SELF-01"],
    run: |t| {
        let inner = t.directory()?.join("a/b");
        t.setup(Call::io("mkdir", std::fs::create_dir_all(&inner)))?;
        t.setup(Call::io("write", std::fs::write(inner.join("c"), "x")))?;
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.all_descriptors_closed",
    about: "Records survive a case that closed every descriptor.",
    proves: &["SELF-01"],
    run: |t| {
        // SAFETY: closes what this process has open; it uses none of it again.
        unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
        t.check(one()).is(2)
    }
});

selftest_case!(Case {
    name: "selftest.output_flood",
    about: "A case that prints without end is stopped, and what it printed is cut.",
    proves: &["SELF-01"],
    run: |_| {
        let line = [b'x'; 65536];
        loop {
            // SAFETY: writes a live buffer to standard output.
            unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
        }
    }
});

selftest_case!(Case {
    name: "selftest.record_flood",
    about: "Records that do not fit are missed, not forgotten.",
    proves: &["SELF-01"],
    run: |t| {
        for _ in 0..10_000 {
            t.note("x".repeat(100));
        }
        t.check(one()).is(1)
    }
});

selftest_case!(Case {
    name: "selftest.fork_bomb",
    about: "Processes that keep forking are all found and killed.",
    proves: &["SELF-01"],
    deadline: SOON,
    run: |_| {
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
    }
});

selftest_case!(Case {
    name: "selftest.kills_its_group",
    about: "A case that kills its process group ends only itself.",
    proves: &["SELF-01"],
    run: |_| {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
        Ok(())
    }
});

selftest_case!(Case {
    name: "selftest.kills_its_supervisor",
    about: "A case that kills its supervisor does not stop the run.",
    proves: &["SELF-01"],
    run: |t| {
        let _ = kill(getppid(), Signal::SIGKILL);
        t.check(one()).is(1)?;
        sleep_for_ever()
    }
});

selftest_case!(Case {
    name: "selftest.survives_all_that",
    about: "The run goes on after every one of the above.",
    proves: &["SELF-01"],
    run: |t| t.check(one()).is(1)
});
