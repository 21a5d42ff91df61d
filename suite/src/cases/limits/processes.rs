//! RLIMIT_NPROC and user namespaces (INT-26 of the behaviour catalogue): each user namespace counts its processes
//! itself, below the ceiling of the one around it.

use crate::prelude::*;

const SOURCE: &str = "getrlimit(2), RLIMIT_NPROC; user_namespaces(7); kernel, kernel/ucount.c";

/// A user that nobody else is in the user namespace at hand.
const USER: u32 = 1234;

fn limit_processes(t: &Test, soft: u64, hard: u64) -> Done {
    t.setup(Call::new(format!("setrlimit(NPROC, {soft}, {hard})"), setrlimit(Resource::RLIMIT_NPROC, soft, hard)))
}

case!(Case {
    name: "limits.processes",
    about: "CLONE_NEWUSER takes the caller's process out of no count: processes in the new user namespace still \
            count against the ceiling that RLIMIT_NPROC was when it was made, while a lower limit inside does not \
            count those outside (Linux 5.14).",
    proves: &["INT-26"],
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::CREATE_USER_NS),
    run: |t| {
        if !kernel::user_namespaces_count(t)? {
            return Err(t.skip("this kernel does not count processes by user namespace (Linux 5.14)"));
        }
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // A user namespace in which the user's count starts from nothing, whoever runs on this machine.
        t.setup(unshare(Flags::NEWUSER))?;
        limits::map_everybody_by(t, &outside)?;
        // While it still may be ended.
        outside.end();
        let user = Uid::from_raw(USER);
        t.setup(Call::new(format!("setresuid({USER})"), setresuid(user, user, user)))?;
        t.setup(Call::new("prctl(PR_SET_DUMPABLE, 1)", prctl::set_dumpable(true)))?;
        let sleeper = Peer::start(t, "process of the same user", Flags::NONE)?;
        limit_processes(t, 2, 3)?;
        t.check(try_fork().called(concat!("fork() ", "as the third process, with the limit at 2")))
            .fails_with(Errno::EAGAIN)?;
        limit_processes(t, 3, 3)?;
        t.check(try_fork().called(concat!("fork() ", "as the third process, with the limit at 3"))).succeeds()?;

        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        // One process inside, two outside.
        limit_processes(t, 2, 3)?;
        t.check(try_fork().called(concat!("fork() ", "as the second process inside, with the limit at 2")))
            .succeeds()?;
        let second = Peer::start(t, "second process inside", Flags::NONE)?;
        t.check(try_fork().called(concat!("fork() ", "as the third process inside, with the limit at 2")))
            .fails_with(Errno::EAGAIN)?;
        limit_processes(t, 3, 3)?;
        t.check(
            try_fork()
                .called(concat!("fork() ", "as the third process inside and the fourth in all, with the ceiling at 3")),
        )
        .fails_with(Errno::EAGAIN)?;
        drop(sleeper);
        t.check(try_fork().called(concat!("fork() ", "as the third in all"))).succeeds()?;
        drop(second);
        Ok(())
    }
});
