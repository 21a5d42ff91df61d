//! Cgroup namespaces (section 3.12 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWCGROUP; cgroup_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::CGROUP_NS).and(ControlGroup::NEEDS);

case!(Case {
    name: "separation.cgroup.root",
    about: "The caller's cgroup becomes its root: its own group reads \"/\", a group further out \"/..\". The caller \
            does not move: a task in the old namespace sees the old path.",
    proves: &["EFF-CG-01", "EFF-CG-02"],
    run: |t| {
        let group = ControlGroup::new(t)?;
        // Outside: it moves the caller, which may no longer see the directories in the end.
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let at = group.path_of_inner();
        t.spawn("caller", |t| {
            let own = getpid();
            let (caller, other) = (Side::Caller, Side::Peer(&peer));
            let look = |side: Side| {
                side.ask(t, "the caller's line 0:: of /proc/PID/cgroup, as seen", own.to_string(), group_of)
            };
            t.setup(move_into(&group.inner(), own))?;
            for side in [caller, other] {
                let seen = look(side)?;
                if !seen.result().is_ok_and(|path| path.ends_with(&at)) {
                    let seen = format!("{:?} instead of …{at}", seen.result());
                    return Err(t.broken("group of the caller before the call", seen));
                }
            }
            let outside = t.setup(look(other)?)?;
            t.unshare(Flags::NEWCGROUP).beside(&[&peer]).proving("EFF-CG-01").as_predicted()?;
            t.check(look(caller)?).proves("EFF-CG-01").is("/".to_owned())?;
            t.check(look(other)?).proves("EFF-CG-01").is(outside.clone())?;
            t.check(caller.ask(t, "all lines of /proc/thread-self/cgroup, as seen", (), own_groups)?)
                .proves("EFF-CG-01")
                .holds("\"/\" in every hierarchy", |paths| paths.iter().all(|path| path == "/"))?;
            t.setup(move_into(group.outer(), own))?;
            t.check(look(caller)?).proves("EFF-CG-02").is("/..".to_owned())?;
            let further_out = outside.trim_end_matches("/inner").to_owned();
            t.check(look(other)?).proves("EFF-CG-02").is(further_out)
        })?
        .join(t)
    }
});

case!(Case {
    name: "separation.cgroup.others",
    about: "A child forked after the call sees its cgroup as the caller does; any other task sees its own as before.",
    proves: &["EFF-CG-01", "EFF-GEN-03"],
    needs: Needs::ROOT.with(feature::CGROUP_NS),
    run: |t| {
        let older = Peer::start(t, "older child", Flags::NONE)?;
        let look = |side: Side| side.ask(t, "all lines of /proc/thread-self/cgroup, as seen", (), own_groups);
        let before = t.setup(look(Side::Peer(&older))?)?;
        t.unshare(Flags::NEWCGROUP).beside(&[&older]).proving("EFF-CG-01").as_predicted()?;
        let younger = Peer::start(t, "younger child", Flags::NONE)?;
        for side in [Side::Caller, Side::Peer(&younger)] {
            t.check(look(side)?).proves("EFF-CG-01").holds("\"/\" in every hierarchy", |paths| {
                paths.len() == before.len() && paths.iter().all(|path| path == "/")
            })?;
        }
        t.check(look(Side::Peer(&older))?).proves("EFF-GEN-03").is(before)
    }
});
