//! The kernel's own allocations fail, one after the other (section 5.3 of the behaviour catalogue).

use crate::engines::fail_nth::{self, FailNth, Fixture};
use crate::prelude::*;

const SOURCE: &str = "unshare(2), ERRORS (ENOMEM); 2006 design document, 5 and 6";
const NEEDS: Needs = fail_nth::NEEDS;

/// The requirement on each flag alone.
const ROWS: [(Flags, &str); 10] = [
    (Flags::FS, "FI-01"),
    (Flags::FILES, "FI-02"),
    (Flags::NEWNS, "FI-04"),
    (Flags::EMPTY, "FI-05"),
    (Flags::NEWUTS, "FI-06"),
    (Flags::NEWCGROUP, "FI-06"),
    (Flags::NEWTIME, "FI-06"),
    (Flags::NEWPID, "FI-07"),
    (Flags::NEWIPC, "FI-08"),
    (Flags::NEWNET, "FI-11"),
];

fn row_of(flags: Flags) -> &'static str {
    ROWS.iter().find(|(flag, _)| *flag == flags).map_or("FI-12", |(_, row)| row)
}

/// Has allocations fail for a lone task, which calls beside sharers.
fn fixture(t: &Test) -> Done<Fixture> {
    fail_nth::allow(t)?;
    Fixture::of(t, Start::of(t.facts()))
}

case!(Case {
    name: "allocations.fails",
    about: "With one of the allocations that the call makes failing, each in turn, it gives ENOMEM (CLONE_NEWNET: \
            some error) and nothing changes and all is still shared, or it does without and succeeds in full.",
    proves: &["ERR-39", "FI-12"],
    deadline: fail_nth::DEADLINE,
    variants: || ROWS
        .map(|(flag, row)| Variant::new(flag.slug(), flag).needing(needs_of(flag)).proving([row, "ERR-39", "FI-12"]))
        .into(),
    run: |t| {
        let flags = t.param::<Flags>();
        fixture(t)?.sweep(t, flags, row_of(flags)).map(drop)
    }
});

case!(Case {
    name: "allocations.many_descriptors",
    about: "With one of the allocations failing that CLONE_FILES makes to copy a table of more descriptors than the \
            smallest holds, it gives ENOMEM and nothing changes and all is still shared, or it does without and \
            succeeds in full.",
    proves: &["FI-02", "FI-12"],
    source: "kernel, fs/file.c",
    run: |t| {
        t.setup(Call::new("dup2(0, 1000)", dup_to(0, 1000, 0)))?;
        fixture(t)?.sweep(t, Flags::FILES, "FI-02").map(drop)
    }
});

case!(Case {
    name: "allocations.none_by_sysvsem",
    about: "CLONE_SYSVSEM makes no allocation that could fail, while one by CLONE_FS in the same state is counted.",
    proves: &["FI-03"],
    source: "kernel, ipc/sem.c",
    needs: NEEDS.with(feature::SYSV_IPC),
    run: |t| {
        const ID: &str = "FI-03";
        let ground = fixture(t)?;
        for flags in [Flags::NONE, Flags::SYSVSEM] {
            let count = ground.count(t, flags, ID)?;
            t.check(Call::seen(format!("allocations by unshare({flags})"), count)).is(0)?;
        }
        let both = Flags::FS | Flags::SYSVSEM;
        let (count, text) = (ground.count(t, both, ID)?, format!("allocations by unshare({both})"));
        t.check(Call::seen(text, count)).proves("FI-01").holds("one at least", |count| *count > 0).map(drop)
    }
});

case!(Case {
    name: "allocations.user",
    about: "With one of the allocations of CLONE_NEWUSER failing, each in turn, it gives ENOMEM, or EAGAIN where it \
            is the record that counts for the user, once the namespace is built; nothing changes.",
    proves: &["FI-09", "ERR-40", "ERR-39", "FI-12"],
    source: "kernel, kernel/user_namespace.c and kernel/cred.c",
    deadline: fail_nth::DEADLINE,
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| {
        let ground = fixture(t)?;
        ground.sweep(t, Flags::NEWUSER, "FI-09")?;
        if ground.users_record() {
            ground.sweep_for(t, Flags::NEWUSER, Errno::EAGAIN, "ERR-40")?;
        }
        Ok(())
    }
});

case!(Case {
    name: "allocations.real_user",
    about: "A caller whose real and effective user differ needs two records to count in: where the second cannot be \
            made, the namespaces made by then are dropped, and the call gives an error and changes nothing.",
    proves: &["FI-12", "ERR-39"],
    source: "kernel, kernel/fork.c and kernel/cred.c",
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::UTS_NS),
    deadline: fail_nth::DEADLINE,
    run: |t| {
        let other = |t: &Test| {
            let set = setresuid(Uid::from_raw(NOBODY), geteuid(), geteuid());
            t.setup(Call::new("setresuid(nobody, -1, -1)", set))
        };
        fixture(t)?.entering(other).sweep(t, Flags::NEWUSER | Flags::NEWUTS, "FI-12").map(drop)
    }
});

case!(Case {
    name: "allocations.first_record",
    about: "The first namespace that is counted in a new user namespace takes a record to count it in: where that is \
            the allocation that fails, the call gives ENOSPC and not ENOMEM, and nothing changes.",
    proves: &["ERR-41", "FI-12"],
    source: "kernel, kernel/ucount.c",
    deadline: fail_nth::DEADLINE,
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::NAMESPACE_LIMITS),
    variants: || {
        let kinds = [Flags::NEWNS, Flags::NEWUTS, Flags::NEWIPC, Flags::NEWPID, Flags::NEWCGROUP, Flags::NEWTIME];
        variants::succeeding(kinds)
    },
    run: |t| {
        let flags = Flags::NEWUSER | t.param::<Flags>();
        fixture(t)?.sweep_for(t, flags, Errno::ENOSPC, "ERR-41")
    }
});

/// Several flags in one call, so that much has been built when an allocation fails.
#[derive(Clone, Copy)]
enum Mix {
    Filesystem,
    Namespaces,
    UserAndNamespaces,
    Everything,
}

impl Mix {
    fn flags(self, t: &Test) -> Flags {
        let all = everything(t);
        match self {
            Mix::Filesystem => Flags::FS | Flags::FILES | Flags::NEWNS,
            Mix::Namespaces => all & !(Flags::NEWUSER | Flags::NEWNET),
            Mix::UserAndNamespaces => all & !Flags::NEWNET,
            Mix::Everything => all,
        }
    }
}

case!(Case {
    name: "allocations.together",
    about: "With one of the allocations failing that a call with many flags makes, each in turn, it gives ENOMEM \
            (with CLONE_NEWUSER also EAGAIN or ENOSPC, with CLONE_NEWNET some error) and nothing changes and all is \
            still shared, or it does without and succeeds in full.",
    proves: &["FI-12", "ERR-39"],
    deadline: fail_nth::DEADLINE,
    variants: || {
        let user = Needs::NONE.with(feature::CREATE_USER_NS);
        let both = Variant::new("user_and_namespaces", Mix::UserAndNamespaces);
        vec![
            Variant::new("filesystem", Mix::Filesystem),
            Variant::new("namespaces", Mix::Namespaces),
            both.needing(user).proving(["FI-10", "FI-12", "ERR-39"]),
            Variant::new("everything", Mix::Everything).needing(user),
        ]
    },
    run: |t| {
        let mix: Mix = t.param();
        let id = if matches!(mix, Mix::UserAndNamespaces) { "FI-10" } else { "FI-12" };
        fixture(t)?.sweep(t, mix.flags(t), id).map(drop)
    }
});

case!(Case {
    name: "allocations.counts",
    about: "After calls in which each of the allocations failed in turn, none of the namespaces that were not made \
            is counted: where the limit has room for one, it can be made.",
    proves: &["FI-13"],
    source: "kernel, kernel/ucount.c",
    needs: NEEDS.and(limits::NEEDS),
    deadline: fail_nth::DEADLINE,
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        check_counts(t, flag, &[flag])
    }
});

/// Has each allocation of the call fail in turn, and checks that of these kinds no namespace is counted afterwards.
#[track_caller]
fn check_counts(t: &Test, flags: Flags, kinds: &[Flags]) -> Done {
    const ID: &str = "FI-13";
    fail_nth::allow(t)?;
    limits::enter_own_user_namespace(t)?;
    let start = limits::start(t, Flags::NONE);
    Fixture::of(t, start)?.sweep(t, flags, ID)?;
    kinds.iter().try_for_each(|flag| {
        limits::set(t, *flag, used(*flag) + 1)?;
        check_room(t, *flag, ID)
    })
}

case!(Case {
    name: "allocations.counts_with_user",
    about: "The same for calls that make a user namespace and another one, by a caller whose real user is not its \
            effective one: neither of them stays when a later allocation of the call fails, which may be that of the \
            record that counts for the real user.",
    proves: &["FI-13"],
    source: "kernel, kernel/ucount.c and kernel/fork.c",
    needs: NEEDS.and(limits::NEEDS),
    deadline: fail_nth::DEADLINE,
    variants: || variants::each_kind_but(&[Flags::NEWUSER]),
    run: |t| {
        let flag = t.param::<Flags>();
        // Namespaces are counted for the effective user: the real one's record is made last, by another allocation.
        let real = call!(setresuid, NOBODY, 0, 0).map(drop).map_err(fds::errno);
        t.setup(Call::new(format!("setresuid({NOBODY}, 0, 0)"), real))?;
        check_counts(t, Flags::NEWUSER | flag, &[flag, Flags::NEWUSER])
    }
});

case!(Case {
    name: "allocations.map",
    about: "With one of the allocations failing that a write of seven ranges to a map of a new user namespace makes, \
            each in turn, it gives ENOMEM and maps nothing, and the map can be written then.",
    proves: &["FI-15"],
    source: "kernel, kernel/user_namespace.c",
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::MAP_IDS),
    run: |t| {
        /// More than the kernel keeps in the map itself, and not in order.
        const RANGES: &str = "12 12 1\n10 10 1\n8 8 1\n6 6 1\n4 4 1\n2 2 1\n0 0 1\n";
        /// More allocations than a write makes.
        const MOST: u32 = 20;
        fail_nth::allow(t)?;
        let fail_nth = FailNth::open(t)?;
        for map in ["uid_map", "gid_map", "projid_map"] {
            let mut failed = 0;
            for n in 1..=MOST {
                let inside = Peer::start(t, "task inside", Flags::NEWUSER)?;
                let path = format!("/proc/{}/{map}", inside.pid());
                let lines =
                    || Call::io(format!("lines of {map}"), fs::read_to_string(&path).map(|s| s.lines().count()));
                let file = t.setup(Call::io(format!("open({map})"), File::options().write(true).open(&path)))?;
                let outcome = fail_nth.during(t, n, || {
                    // SAFETY: the text lives through the call, and has the length given.
                    let written = unsafe { libc::write(file.as_raw_fd(), RANGES.as_ptr().cast(), RANGES.len()) };
                    Errno::result(written).map_or_else(|errno| -i64::from(errno as i32), |count| count as i64)
                })?;
                drop(file);
                let result = if outcome.register < 0 { Err(Errno::from_raw(-outcome.register as i32)) } else { Ok(()) };
                let which = if outcome.left > 0 { "no allocation".to_owned() } else { format!("allocation {n}") };
                let call = Call::new(format!("write({map}, seven ranges) with {which} failing"), result);
                if outcome.left > 0 || result.is_ok() {
                    t.check(call).succeeds()?;
                } else {
                    failed += 1;
                    t.check(call).fails_with(Errno::ENOMEM)?;
                    t.check(lines()).is(0)?;
                    t.check(Call::io(format!("write({map}) once more"), fs::write(&path, RANGES))).succeeds()?;
                }
                t.check(lines()).is(7)?;
                // By the map, in the other direction.
                let (user, group) =
                    inside.setup(t, "geteuid(), getegid()", (), |()| Ok((geteuid().as_raw(), getegid().as_raw())))?;
                match map {
                    "uid_map" => t.check(Call::seen("geteuid() inside", user)).is(0)?,
                    "gid_map" => t.check(Call::seen("getegid() inside", group)).is(0)?,
                    _ => {}
                }
                if outcome.left > 0 {
                    break;
                }
            }
            if failed == 0 {
                return Err(t.broken(format!("write({map}) with failing allocations"), "no write failed"));
            }
        }
        Ok(())
    }
});
