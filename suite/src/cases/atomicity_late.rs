//! Calls that fail late, beside sharers, again and again, and on kernels that lack something (section
//! 5.2 of the behaviour catalogue).

use nix::unistd::{chdir, chroot};

use crate::limits::{self, check_room, in_use};
use crate::prelude::*;
use crate::sharing::Company;

const SOURCE: &str = "2006 design document, 6 (duplicate everything before anything is switched)";

fn each_type() -> Vec<Variant> {
    limits::each_kind()
        .into_iter()
        .filter(|variant| variant.param != Flags::NEWTIME.0)
        .collect()
}

case! {
    name: "atomicity.counts",
    about: "Twenty calls that make a namespace of one kind and then fail leave none of it counted: \
            where the limit has room for one, one can be made afterwards, and no second.",
    proves: &["ATOM-18", "ATOM-S8"],
    source: "kernel, kernel/ucount.c",
    needs: limits::NEEDS.with(Feature::TimeNs),
    variants: each_type,
    run: |t| t.in_child(|t| {
        const ID: &str = "ATOM-18";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWTIME, 0)?;
        limits::set(t, flag, 1 + in_use(flag))?;
        let start = model::Start { initial_admin: false, exhausted: Flags::NEWTIME, ..model::Start::of(t.facts()) };
        let observer = Observer::open(t)?;
        for _ in 0..20 {
            check_call(t, &observer, &start, flag | Flags::NEWTIME, ID)?;
        }
        check_room(t, flag, 1, ID)
    })
}

case! {
    name: "atomicity.sharing.chrooted",
    about: "CLONE_NEWUSER with CLONE_FS and CLONE_FILES below another root directory, beside a sibling \
            that shares: EPERM, no capability is gained, and all is still shared.",
    proves: &["ATOM-08"],
    source: SOURCE,
    needs: Needs::ROOT.with(Feature::CreateUserNs),
    run: |t| {
        const ID: &str = "ATOM-08";
        let shared = Flags::FS | Flags::FILES | Flags::SYSVSEM;
        let company = Company::start(t, shared)?;
        let observer = Observer::open(t)?;
        let root = t.directory()?.join("root");
        t.setup(Call::io("mkdir(root)", std::fs::create_dir(&root)))?;
        t.setup(Call::new("chroot(root), chdir(/)", chroot(&root).and_then(|()| chdir("/"))))?;
        let start = model::Start { chrooted: true, ..model::Start::of(t.facts()) };
        check_call(t, &observer, &start, Flags::NEWUSER | Flags::FS | Flags::FILES, ID)?;
        company.check(t, Flags::NONE, ID)
    }
}

case! {
    name: "atomicity.sharing.no_time_namespaces",
    about: "On a kernel without time namespaces, CLONE_NEWTIME with everything else that can be \
            separated is refused with EINVAL when all the rest is built; nothing changes, and all is \
            still shared.",
    proves: &["ATOM-11", "DOC-06"],
    source: SOURCE,
    needs: Needs::ROOT,
    run: |t| {
        const ID: &str = "ATOM-11";
        if t.facts().has(Feature::TimeNs) {
            return Err(t.skip("this kernel has time namespaces; it takes one without CONFIG_TIME_NS"));
        }
        let company = Company::start(t, Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        let observer = Observer::open(t)?;
        let never = Flags::VM | Flags::SIGHAND | Flags::THREAD | Flags::EMPTY;
        let everything = model::Kernel::of(t.facts()).effective & !never;
        check_call(t, &observer, &model::Start::of(t.facts()), everything | Flags::NEWTIME, ID)?;
        company.check(t, Flags::NONE, ID)
    }
}

case! {
    name: "atomicity.sharing.beyond_nr_open",
    about: "CLONE_FILES and CLONE_NEWNS, beside a sibling that shares a table of descriptors which \
            cannot be copied: EMFILE, the mount namespace is the same, and all is still shared.",
    proves: &["ATOM-12", "DOC-06"],
    source: "kernel, kernel/fork.c and fs/file.c",
    needs: Needs::ROOT.with(Feature::InitialRoot).disturbing(Global::NrOpen),
    run: |t| {
        const ID: &str = "ATOM-12";
        let company = Company::start(t, Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        let observer = Observer::open(t)?;
        // SAFETY: the number is not in use.
        t.setup(Call::new("dup2(0, 200)", Errno::result(unsafe { libc::dup2(0, 200) })))?;
        let path = Global::NrOpen.path();
        t.setup(Call::io("write(64) to fs.nr_open", std::fs::write(path, "64")))?;
        let start = model::Start { beyond_nr_open: true, ..model::Start::of(t.facts()) };
        check_call(t, &observer, &start, Flags::FILES | Flags::NEWNS, ID)?;
        company.check(t, Flags::NONE, ID)
    }
}

/// struct ns_id_req of linux/nsfs.h.
#[repr(C)]
struct NamespaceQuery {
    size: u32,
    reserved: u32,
    after: u64,
    kind: u32,
    reserved_too: u32,
    owner: u64,
}

/// listns(2) came with this release.
const LISTNS_SINCE: Version = Version(6, 19, 0);
const LISTNS: libc::c_long = 470;

/// The active namespaces of one kind that the current user namespace owns, by listns(2).
fn list_namespaces(kind: Flags) -> Call<Vec<u64>> {
    const OF_THIS_USER_NAMESPACE: u64 = u64::MAX;
    let mut all = Vec::new();
    let mut query = NamespaceQuery {
        size: size_of::<NamespaceQuery>() as u32,
        reserved: 0,
        after: 0,
        kind: kind.0 as u32,
        reserved_too: 0,
        owner: OF_THIS_USER_NAMESPACE,
    };
    loop {
        let mut ids = [0u64; 64];
        // SAFETY: both structures live through the call and have the sizes given.
        let count = unsafe { libc::syscall(LISTNS, &raw const query, ids.as_mut_ptr(), ids.len(), 0) };
        match Errno::result(count) {
            Ok(0) => return Call::new(format!("listns({kind})"), Ok(all)),
            Ok(count) => {
                all.extend_from_slice(&ids[..count as usize]);
                query.after = ids[count as usize - 1];
            }
            Err(errno) => return Call::new(format!("listns({kind})"), Err(errno)),
        }
    }
}

case! {
    name: "atomicity.state.active_namespaces",
    about: "Calls that make namespaces and then fail leave none active: listns(2) finds as many of \
            each kind, owned by the caller's user namespace, as before.",
    proves: &["ATOM-S10"],
    source: "kernel, kernel/nstree.c",
    needs: limits::NEEDS.with(Feature::TimeNs),
    variants: each_type,
    run: |t| t.in_child(|t| {
        const ID: &str = "ATOM-S10";
        let version = t.facts().version;
        if version < LISTNS_SINCE {
            return Err(t.skip(format!("listns(2) came with Linux 6.19, this is {version}")));
        }
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWTIME, 0)?;
        let start = model::Start { initial_admin: false, exhausted: Flags::NEWTIME, ..model::Start::of(t.facts()) };
        let observer = Observer::open(t)?;
        let before = t.setup(list_namespaces(flag))?;
        for _ in 0..5 {
            check_call(t, &observer, &start, flag | Flags::NEWTIME, ID)?;
        }
        t.check(list_namespaces(flag)).proves(ID).is(before.clone())?;
        // A namespace that is made is found: the list is not always the same.
        check_call(t, &observer, &start, flag, ID)?;
        // An owner sees its children's namespaces as soon as somebody is in them.
        let _child = if flag == Flags::NEWPID { Some(Peer::start(t, "first child", Flags::NONE)?) } else { None };
        let found = t.setup(list_namespaces(flag))?.len();
        let expected = before.len() + usize::from(flag != Flags::NEWNS);
        t.check(Call::seen("namespaces found after one was made", found))
            .proves(ID)
            .is(expected)
    })
}

