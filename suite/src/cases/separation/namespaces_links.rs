//! Who may look at a task's namespace links, and what tells whether two are one (section 3.19 of the behaviour
//! catalogue).

use super::user::{own_user_namespace, owner_of_own};
use crate::engines::fail_nth::{self, BEYOND, FailNth};
use crate::observe::nsfd::owner_of;
use crate::prelude::*;

const SOURCE: &str = "namespaces(7), The /proc/pid/ns/ directory; ptrace(2), Ptrace access mode checking";

/// Device and inode of a link of each kind, as a task sees another's.
fn identities((pid, links): (i32, Vec<String>)) -> Result<Vec<(u64, u64)>, Errno> {
    let identity = |link: &String| {
        let status = fs::metadata(format!("/proc/{pid}/ns/{link}")).map_err(errno_of)?;
        Ok((status.dev(), status.ino()))
    };
    links.iter().map(identity).collect()
}

case!(Case {
    name: "separation.namespaces.same_or_not",
    about: "Two tasks' links of a kind have the same device and inode while they are in one namespace, and not once \
            one of them has called unshare.",
    proves: &["EFF-LIFE-02"],
    needs: Needs::ROOT,
    quick: one_in(3, 0),
    variants: || variants::succeeding(KINDS.map(|kind| kind.flag)),
    run: |t| {
        let flag: Flags = t.param();
        // The caller's own PID namespace stays (EFF-PID-01).
        let own = Kind::of(flag).expect("a kind of namespace").link;
        let link = if flag == Flags::NEWPID { Ns::PidForChildren } else { own }.link().to_owned();
        // Who looks keeps its powers.
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let look = |pid: Pid| {
            let text = format!("device and inode of the link {link}");
            peer.call(t, &text, (pid.as_raw(), vec![link.clone()]), identities)
        };
        let before = t.setup(look(peer.pid())?)?;
        t.check(look(getpid())?).is(before.clone())?;
        t.unshare(flag).beside(&[&peer]).as_predicted()?;
        // Before the first child, that link leads nowhere (EFF-PID-03).
        let child = (flag == Flags::NEWPID).then(|| Peer::start(t, "first child", Flags::NONE)).transpose()?;
        t.check(look(getpid())?).is_not(before.clone())?;
        t.check(look(peer.pid())?).is(before)?;
        drop(child);
        Ok(())
    }
});

/// The errors that reading and opening each link gives.
fn refusals((pid, links): (i32, Vec<String>)) -> Result<Vec<[i32; 2]>, Errno> {
    let number = |result: Result<(), io::Error>| result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
    let of_link = |link: &String| {
        let path = format!("/proc/{pid}/ns/{link}");
        [number(fs::read_link(&path).map(drop)), number(File::open(&path).map(drop))]
    };
    Ok(links.iter().map(of_link).collect())
}

case!(Case {
    name: "separation.namespaces.not_for_everybody",
    about: "Another user without privilege can neither read nor open the caller's namespace links, old or new \
            (EACCES); root can.",
    proves: &["EFF-LIFE-02"],
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::SECOND_USER).with(feature::UTS_NS),
    run: |t| {
        let root = Peer::start(t, "root", Flags::NONE)?;
        let other = Peer::start(t, "another user", Flags::NONE)?;
        other.setup(t, "setresuid(), without capabilities", NOBODY, |user| {
            let id = Uid::from_raw(user);
            setresuid(id, id, id)?;
            set_capabilities(0, 0).answer()
        })?;
        let entries = fs::read_dir("/proc/self/ns").and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = t.setup(Call::io("readdir(/proc/self/ns)", entries))?;
        let links: Vec<_> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let seen = |peer: &Peer, errno: i32| -> Done {
            let text = format!("errors of readlink and open of {}, by the {}", links.join(", "), peer.name());
            let refused = peer.call(t, &text, (getpid().as_raw(), links.clone()), refusals)?;
            t.check(refused).is(vec![[errno; 2]; links.len()])
        };
        seen(&other, libc::EACCES)?;
        seen(&root, 0)?;
        t.unshare(Flags::NEWUTS).as_predicted()?;
        seen(&other, libc::EACCES)?;
        seen(&root, 0)
    }
});

case!(Case {
    name: "separation.namespaces.owner_in_sight",
    about: "Who is in the user namespace that owns a namespace, or anywhere above it, can ask for the owner \
            (NS_GET_USERNS); in a new user namespace the caller cannot ask for one that is outside (EPERM).",
    proves: &["EFF-LIFE-05"],
    source: "ioctl_ns(2), NS_GET_USERNS",
    needs: limits::NEEDS.with(feature::UTS_NS),
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        limits::check_nesting_is_allowed(t)?;
        limits::enter_own_user_namespace(t)?;
        t.setup(unshare(Flags::NEWUTS))?;
        let seen_outside = || {
            let text = "owner of the caller's UTS namespace (ioctl NS_GET_USERNS)";
            outside.call(t, text, getpid().as_raw(), |pid| owner_of(&open_link(pid, Ns::Uts)?))
        };
        let old = own_user_namespace(t)?;
        t.check(owner_of_own(Ns::Uts)).is(old)?;
        t.unshare(Flags::NEWUSER).from(limits::start(t, Flags::NONE)).as_predicted()?;
        t.check(owner_of_own(Ns::Uts)).fails_with(Errno::EPERM)?;
        t.check(seen_outside()?).is(old)?;
        t.setup(unshare(Flags::NEWUTS))?;
        let new = own_user_namespace(t)?;
        t.check(owner_of_own(Ns::Uts)).is(new)?;
        t.check(seen_outside()?).is(new)
    }
});

/// The number of a namespace that a child makes and has to itself.
#[track_caller]
fn number_of_new(t: &Test, flag: Flags, barrier: &Barrier) -> Done<u64> {
    t.in_child(|t| {
        t.setup(unshare(flag))?;
        // Before the first child, such a link leads nowhere (EFF-PID-03).
        let child = (flag == Flags::NEWPID).then(|| Peer::start(t, "first child", Flags::NONE)).transpose()?;
        let link = Kind::of(flag).expect("a kind of namespace").link;
        let number = open_link("thread-self", link).and_then(|file| inode_of(&file));
        barrier.put(0, t.setup(Call::new(format!("inode of ns/{}", link.link()), number))?);
        drop(child);
        Ok(())
    })?;
    Ok(barrier.get(0))
}

/// How long the number of a namespace may be taken after its last task has ended (RULE-05), on real hardware.
const RELEASE: Duration = Duration::from_secs(10);

/// Goes on where all namespaces are the suite's.
#[track_caller]
fn nobody_else_takes_numbers(t: &Test) -> Done {
    if t.has_own_kernel() {
        return Ok(());
    }
    Err(t.skip("other processes of this machine take and return numbers as well: use --kernel"))
}

case!(Case {
    name: "separation.namespaces.numbers_return",
    about: "The inode number of a namespace that has ended is given away again: where one namespace is made after the \
            other, the numbers do not rise with each.",
    proves: &["LEAK-04"],
    source: "kernel, fs/proc/generic.c (proc_alloc_inum)",
    needs: Needs::ROOT.alone(),
    // A network namespace is freed so late that the next ones need numbers of their own.
    variants: || {
        let kinds = KINDS.map(|kind| kind.flag).into_iter().filter(|flag| *flag != Flags::NEWNET);
        variants::succeeding(kinds)
    },
    run: |t| {
        nobody_else_takes_numbers(t)?;
        /// How many namespaces are made in a row.
        const CALLS: u64 = 8;
        /// As many more are sure to show that none comes back.
        const MANY: u64 = 50 * CALLS;
        let flag: Flags = t.param();
        let barrier = Barrier::new(t)?;
        let first = number_of_new(t, flag, barrier)?;
        let mut last = first;
        for _ in 0..CALLS {
            last = number_of_new(t, flag, barrier)?;
        }
        // The kernel lets go of some of them later.
        t.wait_until(RELEASE, || {
            last = number_of_new(t, flag, barrier).unwrap_or(last);
            last < first + CALLS / 2 || last > first + MANY
        });
        let text = format!("rise of the number of a namespace by unshare({flag}) after {CALLS} that ended");
        t.check(Call::seen(text, last.saturating_sub(first)))
            .holds(&format!("less than {}", CALLS / 2), |rise| *rise < CALLS / 2)
            .map(drop)
    }
});

/// Has one allocation of a call fail, in a task of its own. Gives by how many the call made too few for that.
#[track_caller]
fn fail_one(t: &Test, flags: Flags, n: u32, barrier: &Barrier) -> Done<u32> {
    t.in_child(|t| {
        let outcome = FailNth::open(t)?.unshare(t, flags, n)?;
        barrier.put(0, u64::from(outcome.left));
        Ok(())
    })?;
    Ok(barrier.get(0) as u32)
}

case!(Case {
    name: "separation.namespaces.numbers_return_from_failures",
    about: "A call of which an allocation fails gives the inode number back that the namespace had: after many such \
            calls, of which each has another allocation fail, the next namespace gets no number far beyond the one \
            before them.",
    proves: &["LEAK-05"],
    source: "kernel, fs/proc/generic.c (proc_alloc_inum)",
    needs: fail_nth::NEEDS.alone(),
    deadline: fail_nth::DEADLINE,
    variants: || variants::succeeding(KINDS.map(|kind| kind.flag)),
    run: |t| {
        nobody_else_takes_numbers(t)?;
        /// How many calls fail. Of a dozen allocations of a user namespace, few come after its number.
        const CALLS: u32 = 120;
        /// By how many numbers the next one may rise: something else of the kernel may have taken one.
        const RISE: u64 = 6;
        fail_nth::allow(t)?;
        let flag: Flags = t.param();
        let barrier = Barrier::new(t)?;
        // Also does what the kernel does once.
        let count = (BEYOND - fail_one(t, flag, BEYOND, barrier)?).max(1);
        let first = number_of_new(t, Flags::NEWNS, barrier)?;
        let mut failed = 0;
        for call in 0..CALLS {
            // Evenly over all, or all of them again and again.
            let n = if count > CALLS { call * count / CALLS } else { call % count } + 1;
            failed += u32::from(fail_one(t, flag, n, barrier)? == 0);
        }
        // What calls made that did without the allocation, the kernel lets go of later.
        let mut limit = t.time_limit(Duration::from_secs(2));
        let last = loop {
            let last = number_of_new(t, Flags::NEWNS, barrier)?;
            if last < first + RISE || !limit.pause(Duration::from_millis(50)) {
                break last;
            }
        };
        let text = format!("rise of the next number by {failed} calls of unshare({flag}) with an allocation failing");
        t.note(format!("{text}: {}, of {count} allocations", last.saturating_sub(first)));
        t.check(Call::seen(text, last.saturating_sub(first)))
            .holds(&format!("less than {RISE}"), |rise| *rise < RISE)
            .map(drop)
    }
});
