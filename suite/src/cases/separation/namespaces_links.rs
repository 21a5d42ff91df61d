//! Who may look at a task's namespace links, and what tells whether two are one (section 3.19 of the behaviour
//! catalogue).

use super::user::{own_user_namespace, owner_of_own};
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
    about: "Two tasks' links of a kind have the same device and inode while they are in one namespace, and not once one \
            of them has called unshare.",
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
    about: "Another user without privilege can neither read nor open the caller's namespace links, old or new (EACCES); \
            root can.",
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

case!(Case {
    name: "separation.namespaces.numbers_return",
    about: "The inode number of a namespace that has ended is given away again: where one namespace is made after the \
            other, the numbers do not rise with each.",
    proves: &["LEAK-04"],
    source: "kernel, fs/proc/generic.c (proc_alloc_inum)",
    needs: Needs::ROOT.alone(),
    quick: one_in(2, 0),
    // A network namespace is freed so late that the next ones need numbers of their own.
    variants: || {
        let kinds = KINDS.map(|kind| kind.flag).into_iter().filter(|flag| *flag != Flags::NEWNET);
        variants::succeeding(kinds)
    },
    run: |t| {
        if !t.has_own_kernel() {
            return Err(t.skip("other processes of this machine take and return numbers as well: use --kernel"));
        }
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
