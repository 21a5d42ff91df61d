//! What holds of every namespace (section 3.0 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "unshare(2), DESCRIPTION; namespaces(7)";

fn each_namespace() -> Vec<Variant> {
    KINDS.map(|kind| Variant::new(kind.flag.slug(), kind).needing(needs_of(kind.flag))).into()
}

/// Those whose link leads somewhere at once; that of a PID namespace may not (EFF-PID-03).
fn each_readable_at_once() -> Vec<Variant> {
    each_namespace().into_iter().filter(|variant| variant.param::<Kind>().flag != Flags::NEWPID).collect()
}

case!(Case {
    name: "separation.namespaces.links",
    about: "One flag changes the one link it names, or none; the caller's others and another task's links stay.",
    proves: &["EFF-GEN-01", "DIFF-11"],
    quick: one_in(3, 0),
    variants: variants::each_flag,
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        t.unshare(t.param::<Flags>()).beside(&[&peer]).proving("EFF-GEN-01").as_predicted()
    }
});

/// The tasks but the caller that have this inode behind their link. An inode number is nobody else's as long as its
/// namespace exists, so this is asked while the caller is in it.
fn others_with(ns: Ns, inode: u64) -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && *name != own)
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/{}", ns.link())).is_ok_and(|link| link.ino() == inode))
        .collect()
}

case!(Case {
    name: "separation.namespaces.unique",
    about: "A new namespace is none that any task has; two tasks that call get two.",
    proves: &["EFF-GEN-02", "EFF-GEN-06"],
    quick: one_in(2, 1),
    variants: each_readable_at_once,
    run: |t| {
        let Kind { flag, link: ns, .. } = t.param();
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let theirs = peer.call(t, &format!("unshare({flag}) by the peer, ns/{}", ns.link()), flag.0, |flag| {
            let Kind { flag, link: ns, .. } = Kind::of(Flags(flag)).ok_or(Errno::EINVAL)?;
            unshare(flag).result().copied().map_err(Failure::errno)?;
            inode_of(&open_link("thread-self", ns)?)
        })?;
        let theirs = t.check(theirs).proves("EFF-GEN-06").succeeds()?;
        t.unshare(flag).beside(&[&peer]).proving("EFF-GEN-02").as_predicted()?;
        let others = others_with(ns, observer.namespace_inode(ns));
        t.check(Call::seen(format!("tasks besides the caller in its ns/{}", ns.link()), others))
            .proves("EFF-GEN-02")
            .is(Vec::new())?;
        t.check(observer.namespace(ns)).proves("EFF-GEN-06").is_not(theirs)?;
        // The peer asks: a caller in a user namespace of its own may not look at it.
        let same = peer.call(t, "the same link by the peer", flag.0, |flag| {
            let kind = Kind::of(Flags(flag)).ok_or(Errno::EINVAL)?;
            inode_of(&open_link("thread-self", kind.link)?)
        })?;
        t.check(same).proves("EFF-GEN-06").is(theirs)
    }
});

case!(Case {
    name: "separation.namespaces.inherited",
    about: "A child forked after the call is in the new namespace, one forked before stays in the old.",
    proves: &["EFF-GEN-03", "INT-01"],
    quick: one_in(2, 0),
    variants: each_namespace,
    run: |t| {
        const ID: &str = "EFF-GEN-03";
        let Kind { flag, link: for_children, .. } = t.param();
        // What the link of the caller says of its children, theirs says of themselves.
        let ns = match for_children {
            Ns::PidForChildren => Ns::Pid,
            Ns::TimeForChildren => Ns::Time,
            other => other,
        };
        let observer = Observer::open(t)?;
        let older = Peer::start(t, "older child", Flags::NONE)?;
        let old = observer.namespace_inode(ns);
        t.unshare(flag).beside(&[&older]).proving(ID).as_predicted()?;
        let younger = Peer::start(t, "younger child", Flags::NONE)?;
        let new = observer.namespace_inode(for_children);
        let link = |peer: &Peer| {
            peer.call(t, &format!("ns/{} of the {}", ns.link(), peer.name()), ns.link().to_owned(), |link| {
                fs::metadata(format!("/proc/thread-self/ns/{link}")).map(|link| link.ino()).map_err(errno_of)
            })
        };
        t.check(link(&older)?).proves(ID).is(old)?;
        t.check(link(&younger)?).proves(ID).is(new)?;
        t.check(link(&younger)?).proves(ID).is_not(old)
    }
});

/// Those that setns(2) leads back from: not a user namespace, whose parent is out of reach (INT-07). The way into a
/// namespace takes CAP_SYS_ADMIN in the user namespace that owns it; all but time namespaces can be had by clone(2),
/// so that the caller's own is the owner.
fn each_with_a_way_back() -> Vec<Variant> {
    each_namespace()
        .into_iter()
        .filter_map(|variant| match variant.param::<Kind>().flag {
            Flags::NEWUSER => None,
            Flags::NEWTIME => Some(variant.needing(Needs::ROOT.with(feature::INITIAL_ROOT))),
            _ => Some(variant),
        })
        .collect()
}

case!(Case {
    name: "separation.namespaces.old_descriptor",
    about: "A descriptor of the link opened before the call names the old namespace; setns(2) leads back.",
    proves: &["EFF-GEN-04", "INT-07"],
    source: "setns(2); namespaces(7)",
    quick: one_in(2, 1),
    variants: each_with_a_way_back,
    run: |t| {
        const ID: &str = "EFF-GEN-04";
        let Kind { flag, link, .. } = t.param();
        in_own_namespaces(t, flag & !Flags::NEWTIME, |t| {
            let observer = Observer::open(t)?;
            let before = observer.namespace_inode(link);
            let file = t.setup(Call::new(format!("open(ns/{})", link.link()), open_link("thread-self", link)))?;
            t.unshare(flag).proving(ID).as_predicted()?;
            t.check(Call::new("fstat(descriptor of the old link)", inode_of(&file))).proves(ID).is(before)?;
            t.check(Call::new(format!("setns(ns/{}) of before", link.link()), enter(&file)))
                .proves("INT-07")
                .succeeds()?;
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
    about: "The link's text is type:[inode]; fstat(2) of an open descriptor gives the same inode.",
    proves: &["EFF-GEN-05", "INT-27"],
    source: "namespaces(7), The /proc/pid/ns/ directory",
    variants: each_readable_at_once,
    run: |t| {
        const ID: &str = "EFF-GEN-05";
        let Kind { flag, link: ns, .. } = t.param();
        let observer = Observer::open(t)?;
        t.unshare(flag).proving(ID).as_predicted()?;
        let path = format!("/proc/thread-self/ns/{}", ns.link());
        let inode = observer.namespace_inode(ns);
        let opened = open_link("thread-self", ns).and_then(|file| inode_of(&file));
        t.check(Call::new(format!("fstat({path})"), opened)).proves(ID).is(inode)?;
        let text = fs::read_link(&path).map(|text| text.to_string_lossy().into_owned());
        t.check(Call::io(format!("readlink({path})"), text)).proves(ID).is(format!("{}:[{inode}]", kind(ns)))
    }
});

fn each_other_flag() -> Vec<Variant> {
    Flags::KNOWN
        .into_iter()
        .filter(|flag| *flag != Flags::NEWUSER)
        .map(|flag| Variant::new(flag.slug(), flag).needing(needs_of(flag).without(Needs::ROOT)))
        .collect()
}

case!(Case {
    name: "separation.namespaces.after_user",
    about: "A task without any capability that has made itself a user namespace may name every other flag afterwards.",
    proves: &["EFF-GEN-07", "PRIV-04"],
    source: "user_namespaces(7)",
    needs: Needs::NONE.with(feature::CREATE_USER_NS),
    quick: one_in(3, 2),
    variants: each_other_flag,
    run: |t| {
        become_unprivileged(t)?;
        let nobody = Start::unprivileged();
        t.unshare(Flags::NEWUSER).from(nobody).proving("PRIV-04").as_predicted()?;
        let inside = Start { sys_admin: true, ids_mapped: false, ..nobody };
        t.unshare(t.param::<Flags>()).from(inside).proving("EFF-GEN-07").as_predicted()
    }
});
