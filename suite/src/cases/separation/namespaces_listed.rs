//! What listns(2) says of namespaces that the call makes (section 3 of the behaviour catalogue).

use crate::observe::nsfd::{LISTNS, id_of, list_namespaces, list_some};
use crate::prelude::*;

const SOURCE: &str = "kernel, kernel/nstree.c";
const NEEDS: Needs = limits::NEEDS.with(feature::INITIAL_ROOT);

/// How long a namespace may still be active when its last task has ended (RULE-05), on real hardware.
const RELEASE: Duration = Duration::from_secs(10);

/// Makes a namespace, with a child in it where only children are.
#[track_caller]
fn child_of(t: &Test, flag: Flags) -> Done<Option<Peer>> {
    let for_children = Flags::NEWPID | Flags::NEWTIME;
    for_children.contains(flag).then(|| Peer::start(t, "first child", Flags::NONE)).transpose()
}

/// The ID of a task's namespace of the kind that a flag makes.
fn id_by((pid, flag): (i32, u64)) -> Result<u64, Errno> {
    let link = Kind::of(Flags(flag)).ok_or(Errno::EINVAL)?.link;
    open_link(pid, link).and_then(|link| id_of(&link))
}

case!(Case {
    name: "separation.namespaces.listed",
    about: "listns(2) finds the new namespace among those of its kind, and once, however many are asked for at a time, \
            and although one made before it is only kept by a descriptor; after the end of its last task no more. \
            Nothing comes after the greatest ID.",
    proves: &["EFF-GEN-09"],
    variants: variants::each_kind,
    run: |t| {
        const AT_A_TIME: [usize; 2] = [1, 64];
        if kernel::lacks_call(LISTNS) {
            return Err(t.skip("this kernel has no listns(2) (Linux 6.19)"));
        }
        let flag = t.param::<Flags>();
        // Who may see namespaces that it is not in itself.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let barrier = Barrier::new(t)?;
        let list = |owner: u64, count: usize, when: &str| {
            let text = format!("listns({flag}), {count} at a time, {when}");
            witness.call(t, &text, (t.param::<Flags>().0, owner, count), list_namespaces)
        };
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            let owner =
                t.setup(Call::new("ioctl(NS_GET_ID)", open_link("thread-self", Ns::User).and_then(|f| id_of(&f))))?;
            // Its namespace is nobody's any more, but for the descriptor.
            let older = Peer::start(t, "task in an older namespace", Flags::NONE)?;
            older.setup(t, "unshare()", flag.0, |flag| unshare(Flags(flag)).answer())?;
            let kept = Kind::of(flag).map(|kind| open_link(older.pid(), kind.link));
            older.end();
            t.unshare(flag).from(limits::start(t, Flags::NONE)).as_predicted()?;
            let child = child_of(t, flag)?;
            let task = child.as_ref().map_or(getpid(), Peer::pid);
            let id =
                t.setup(witness.call(t, "ioctl(NS_GET_ID) of the new namespace", (task.as_raw(), flag.0), id_by)?)?;
            for (owner, count) in [owner, 0].into_iter().flat_map(|owner| AT_A_TIME.map(|count| (owner, count))) {
                t.check(list(owner, count, "after the call")?)
                    .holds(&format!("each ID greater than the one before, and {id} among them"), |ids| {
                        ids.contains(&id) && ids.is_sorted_by(|one, next| one < next)
                    })?;
            }
            drop(kept);
            barrier.put(0, id);
            Ok(())
        })?;
        let id = barrier.get(0);
        let mut found = Vec::new();
        t.wait_until(RELEASE, || {
            found = list(0, 64, "").and_then(|call| t.setup(call)).unwrap_or_default();
            !found.contains(&id)
        });
        t.check(Call::seen(format!("whether listns({flag}) has it after its end"), found.contains(&id))).is(false)?;
        let text = format!("listns({flag}) of what comes after the greatest ID");
        t.check(witness.call(t, &text, (flag.0, 0, 64, u64::MAX), list_some)?).is(vec![])
    }
});
