//! Host name and domain name (section 3.7 of the behaviour catalogue), in a UTS namespace that clone(2) made for the
//! case.

use nix::sys::utsname::uname;

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWUTS; uts_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::UTS_NS);

case!(Case {
    name: "separation.uts.private",
    about: "Tasks in one UTS namespace see each other set a name; unshare(CLONE_NEWUTS) keeps its value, and \
            afterwards neither sees what the other sets.",
    proves: &["EFF-UTS-01", "EFF-UTS-02"],
    variants: || [Probe::HostName, Probe::DomainName].map(|probe| Variant::new(probe.slug(), probe)).into(),
    run: |t| in_own_namespaces(t, Flags::NEWUTS, |t| {
        let probe: Probe = t.param();
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        check_shared(t, &dirs, probe, sides, "EFF-UTS-02")?;
        // The names are part of the state that must not change.
        t.unshare(Flags::NEWUTS).beside(&[&peer]).proving("EFF-UTS-01").as_predicted()?;
        check_apart(t, &dirs, probe, sides, "EFF-UTS-02")?;
        check_apart(t, &dirs, probe, (sides.1, sides.0), "EFF-UTS-02")
    })
});

/// System, release, version and machine.
fn fixed_names((): ()) -> Result<[String; 4], Errno> {
    let uname = uname()?;
    Ok([uname.sysname(), uname.release(), uname.version(), uname.machine()]
        .map(|name| name.to_string_lossy().into_owned()))
}

fn name_in_proc(file: String) -> Result<String, Errno> {
    fs::read_to_string(format!("/proc/sys/kernel/{file}")).map(|text| text.trim_end().to_owned()).map_err(errno_of)
}

fn set_names(name: String) -> Result<(), Errno> {
    sethostname(&name)?;
    set_domain_name(&name)
}

case!(Case {
    name: "separation.uts.rest",
    about: "System, release, version and machine stay; /proc/sys/kernel/hostname and domainname show each task the \
            names of its own namespace.",
    proves: &["EFF-UTS-03"],
    run: |t| in_own_namespaces(t, Flags::NEWUTS, |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let sides = [(Side::Caller, "inside"), (Side::Peer(&peer), "outside")];
        let before = t.setup(Call::new("uname()", fixed_names(())))?;
        t.unshare(Flags::NEWUTS).beside(&[&peer]).as_predicted()?;
        for (side, name) in sides {
            t.check(side.ask(t, "uname() but for the names", (), fixed_names)?).is(before.clone())?;
            side.must(t, "sethostname(), setdomainname()", name.to_owned(), set_names)?;
        }
        for (side, name) in sides {
            for file in ["hostname", "domainname"] {
                let text = format!("read(/proc/sys/kernel/{file})");
                t.check(side.ask(t, &text, file.to_owned(), name_in_proc)?).is(name.to_owned())?;
            }
        }
        Ok(())
    })
});
