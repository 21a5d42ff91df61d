//! What holds of every namespace (section 3.0 of the behaviour catalogue).

use std::os::unix::fs::MetadataExt;

use crate::observe::nsfd::{enter, inode_of, open_link};
use crate::prelude::*;
use crate::tasks::side::{Side, check_call_beside, each_flag, in_own_namespaces, needs_of};

const SOURCE: &str = "unshare(2), DESCRIPTION; namespaces(7)";

/// A flag and the link that it changes.
const LINKS: [(Flags, Ns); 8] = [
    (Flags::NEWNS, Ns::Mnt),
    (Flags::NEWUTS, Ns::Uts),
    (Flags::NEWIPC, Ns::Ipc),
    (Flags::NEWNET, Ns::Net),
    (Flags::NEWCGROUP, Ns::Cgroup),
    (Flags::NEWTIME, Ns::TimeForChildren),
    (Flags::NEWPID, Ns::PidForChildren),
    (Flags::NEWUSER, Ns::User),
];

fn with_links(links: &[(Flags, Ns)]) -> Vec<Variant> {
    links
        .iter()
        .enumerate()
        .map(|(at, (flag, _))| Variant::new(flag.slug(), at as u64).needing(needs_of(*flag)))
        .collect()
}

fn each_namespace() -> Vec<Variant> {
    with_links(&LINKS)
}

/// Those whose link leads somewhere at once; that of a PID namespace may not (EFF-PID-03).
fn each_readable_at_once() -> Vec<Variant> {
    each_namespace().into_iter().filter(|variant| LINKS[variant.param as usize].0 != Flags::NEWPID).collect()
}

case!(Case {
    name: "separation.namespaces.links",
    about: "One flag changes the one link it names, or none if it names no namespace, and leaves the \
            nine others, and all ten of a task beside the caller, as they are.",
    proves: &["EFF-GEN-01", "DIFF-11"],
    source: SOURCE,
    variants: each_flag,
    run: |t| {
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        let start = model::Start::of(t.facts());
        check_call_beside(t, &observer, &start, Flags(t.param()), "EFF-GEN-01", &[&peer]).map(drop)
    }
});

/// The tasks but the caller that have this inode behind their link. An inode number is nobody
/// else's as long as its namespace exists, so this is asked while the caller is in it.
fn others_with(ns: Ns, inode: u64) -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && *name != own)
        .filter(|pid| std::fs::metadata(format!("/proc/{pid}/ns/{}", ns.link())).is_ok_and(|link| link.ino() == inode))
        .collect()
}

case!(Case {
    name: "separation.namespaces.unique",
    about: "A new namespace is none that any task has; two tasks that call get two.",
    proves: &["EFF-GEN-02", "EFF-GEN-06"],
    source: SOURCE,
    variants: each_readable_at_once,
    run: |t| {
        let (flag, ns) = LINKS[t.param() as usize];
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let theirs = peer.call(t, &format!("unshare({flag}) by the peer, ns/{}", ns.link()), t.param(), |at| {
            let (flag, ns) = LINKS[at as usize];
            unshare(flag).result().copied().map_err(Failure::errno)?;
            inode_of(&open_link("thread-self", ns)?)
        })?;
        let theirs = t.check(theirs).proves("EFF-GEN-06").succeeds()?;
        let start = model::Start::of(t.facts());
        check_call_beside(t, &observer, &start, flag, "EFF-GEN-02", &[&peer])?;
        let others = others_with(ns, observer.namespace_inode(ns));
        t.check(Call::seen(format!("tasks besides the caller in its ns/{}", ns.link()), others))
            .proves("EFF-GEN-02")
            .is(Vec::new())?;
        t.check(observer.namespace(ns)).proves("EFF-GEN-06").is_not(theirs)?;
        t.check(
            Side::Peer(&peer)
                .ask(t, "the same link", t.param(), |at| inode_of(&open_link("thread-self", LINKS[at as usize].1)?))?,
        )
        .proves("EFF-GEN-06")
        .is(theirs)
    }
});

case!(Case {
    name: "separation.namespaces.inherited",
    about: "A child forked after the call is in the new namespace, one forked before stays in the old.",
    proves: &["EFF-GEN-03", "INT-01"],
    source: SOURCE,
    variants: each_namespace,
    run: |t| {
        const ID: &str = "EFF-GEN-03";
        let (flag, for_children) = LINKS[t.param() as usize];
        // What the link of the caller says of its children, theirs says of themselves.
        let ns = match for_children {
            Ns::PidForChildren => Ns::Pid,
            Ns::TimeForChildren => Ns::Time,
            other => other,
        };
        let observer = Observer::open(t)?;
        let older = Peer::start(t, "older child", Flags::NONE)?;
        let old = observer.namespace_inode(ns);
        let start = model::Start::of(t.facts());
        check_call_beside(t, &observer, &start, flag, ID, &[&older])?;
        let younger = Peer::start(t, "younger child", Flags::NONE)?;
        let new = observer.namespace_inode(for_children);
        let link = |peer: &Peer| {
            peer.call(t, &format!("ns/{} of the {}", ns.link(), peer.name()), ns.link().to_owned(), |link| {
                std::fs::metadata(format!("/proc/thread-self/ns/{link}")).map(|link| link.ino()).map_err(errno_of)
            })
        };
        t.check(link(&older)?).proves(ID).is(old)?;
        t.check(link(&younger)?).proves(ID).is(new)?;
        t.check(link(&younger)?).proves(ID).is_not(old)
    }
});

/// Those that setns(2) leads back from: not a user namespace, whose parent is out of reach (INT-07).
/// The way into a namespace takes CAP_SYS_ADMIN in the user namespace that owns it; all but time
/// namespaces can be had by clone(2), so that the caller's own is the owner.
fn each_with_a_way_back() -> Vec<Variant> {
    each_namespace()
        .into_iter()
        .filter_map(|variant| match LINKS[variant.param as usize].0 {
            Flags::NEWUSER => None,
            Flags::NEWTIME => Some(variant.needing(Needs::ROOT.with(feature::INITIAL_ROOT))),
            _ => Some(variant),
        })
        .collect()
}

case!(Case {
    name: "separation.namespaces.old_descriptor",
    about: "A descriptor of the link, opened before the call, still names the old namespace: it has \
            the same inode, and setns(2) leads back.",
    proves: &["EFF-GEN-04", "INT-07"],
    source: "setns(2); namespaces(7)",
    variants: each_with_a_way_back,
    run: |t| {
        const ID: &str = "EFF-GEN-04";
        let (flag, link) = LINKS[t.param() as usize];
        in_own_namespaces(t, flag & !Flags::NEWTIME, |t| {
            let observer = Observer::open(t)?;
            let before = observer.namespace_inode(link);
            let file = t.setup(Call::new(format!("open(ns/{})", link.link()), open_link("thread-self", link)))?;
            let start = model::Start::of(t.facts());
            check_call(t, &observer, &start, flag, ID)?;
            t.check(Call::new("fstat(descriptor of the old link)", inode_of(&file))).proves(ID).is(before)?;
            t.check(Call::new("setns(descriptor of the old link)", enter(&file))).proves("INT-07").succeeds()?;
            t.check(observer.namespace(link).called(format!("ns/{} after setns", link.link()))).proves(ID).is(before)
        })
    }
});

/// The type in the text of a link.
fn kind(ns: Ns) -> &'static str {
    match ns {
        Ns::PidForChildren => "pid",
        Ns::TimeForChildren => "time",
        other => other.link(),
    }
}

case!(Case {
    name: "separation.namespaces.link_text",
    about: "The link's text is the type and the inode number, type:[inode], which fstat(2) of an open \
            descriptor gives, too.",
    proves: &["EFF-GEN-05", "INT-27"],
    source: "namespaces(7), The /proc/pid/ns/ directory",
    variants: each_readable_at_once,
    run: |t| {
        const ID: &str = "EFF-GEN-05";
        let (flag, ns) = LINKS[t.param() as usize];
        let observer = Observer::open(t)?;
        let start = model::Start::of(t.facts());
        check_call(t, &observer, &start, flag, ID)?;
        let path = format!("/proc/thread-self/ns/{}", ns.link());
        let inode = observer.namespace_inode(ns);
        let opened = open_link("thread-self", ns).and_then(|file| inode_of(&file));
        t.check(Call::new(format!("fstat({path})"), opened)).proves(ID).is(inode)?;
        let text = std::fs::read_link(&path).map(|text| text.to_string_lossy().into_owned());
        t.check(Call::io(format!("readlink({path})"), text)).proves(ID).is(format!("{}:[{inode}]", kind(ns)))
    }
});

fn each_other_flag() -> Vec<Variant> {
    Flags::KNOWN
        .into_iter()
        .filter(|flag| *flag != Flags::NEWUSER)
        .map(|flag| {
            let needs = needs_of(flag).without(Needs::ROOT);
            Variant::new(flag.slug(), flag.0).needing(needs)
        })
        .collect()
}

case!(Case {
    name: "separation.namespaces.after_user",
    about: "A task without any capability that has made itself a user namespace may name every other \
            flag afterwards.",
    proves: &["EFF-GEN-07", "PRIV-04"],
    source: "user_namespaces(7)",
    needs: Needs::NONE.with(feature::CREATE_USER_NS),
    variants: each_other_flag,
    run: |t| {
        let observer = Observer::open(t)?;
        become_unprivileged(t)?;
        let nobody = model::Start { sys_admin: false, initial_admin: false, ..model::Start::of(t.facts()) };
        check_call(t, &observer, &nobody, Flags::NEWUSER, "PRIV-04")?;
        let inside = model::Start { sys_admin: true, ids_mapped: false, ..nobody };
        check_call(t, &observer, &inside, Flags(t.param()), "EFF-GEN-07").map(drop)
    }
});
