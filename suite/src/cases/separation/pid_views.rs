//! What process IDs and sysctls look like inside a new PID namespace and outside (section 3.10 of the behaviour
//! catalogue).

use super::pid_init::status_of_child;
use crate::prelude::*;

/// Where `self` of a proc file system leads: the reader's process ID there.
fn self_in(proc: String) -> Result<String, Errno> {
    fs::read_link(format!("{proc}/self")).map(|target| target.to_string_lossy().into_owned()).map_err(errno_of)
}

case!(Case {
    name: "separation.pid.proc",
    about: "A proc mounted before the call shows the old process IDs, to the new namespace's children, too; one that \
            such a child mounts shows the new IDs.",
    proves: &["EFF-PID-15"],
    source: "pid_namespaces(7), /proc and PID namespaces",
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::INITIAL_ROOT),
    run: |t| {
        let point = t.directory()?.to_string_lossy().into_owned();
        in_own_namespaces(t, Flags::NEWNS, |t| {
            t.unshare(Flags::NEWPID).as_predicted()?;
            let child = Peer::start(t, "process 1", Flags::NONE)?;
            let outer = child.pid().to_string();
            let old = || child.call(t, "readlink(/proc/self) by process 1", "/proc".to_owned(), self_in);
            t.check(old()?).is(outer.clone())?;
            child.setup(t, "mount(proc) by process 1", point.clone(), |point| {
                mount(Some("proc"), point.as_str(), Some("proc"), MsFlags::empty(), None::<&str>)
            })?;
            let new =
                child.call(t, "readlink(self) in a proc file system that process 1 mounted", point.clone(), self_in)?;
            t.check(new).is("1".to_owned())?;
            t.check(old()?).is(outer.clone())?;
            let names = fs::read_dir(&point).map(|entries| {
                let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
                names.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect::<Vec<_>>()
            });
            t.check(Call::io("processes in the new proc file system, as the caller lists it", names))
                .is(vec!["1".to_owned()])?;
            // Whose process IDs it shows is the file system's, not the reader's: the caller has none.
            t.check(Call::new("readlink(self) in it by the caller", self_in(point.clone())))
                .fails_with(Errno::ENOENT)?;
            t.check(Call::new("readlink(/proc/self) by the caller", self_in("/proc".to_owned())))
                .is(getpid().to_string())
        })
    }
});

/// Sysctls of a PID namespace.
const SYSCTLS: [(&str, &str); 3] = [
    ("ns_last_pid", "/proc/sys/kernel/ns_last_pid"),
    ("pid_max", "/proc/sys/kernel/pid_max"),
    ("memfd_noexec", "/proc/sys/vm/memfd_noexec"),
];

case!(Case {
    name: "separation.pid.sysctl",
    about: "Last process ID, pid_max (Linux 6.14) and memfd_noexec (6.3), which starts as the parent's, can be set in \
            the new namespace without touching those outside.",
    proves: &["EFF-PID-16"],
    source: "kernel, kernel/pid_namespace.c, kernel/pid.c and mm/memfd.c; proc_sys_kernel(5), pid_max",
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::INITIAL_ROOT),
    variants: || SYSCTLS.map(|row| Variant::new(row.0, row)).into(),
    run: |t| {
        let (name, path): (&str, &str) = t.param();
        if name == "pid_max" && !kernel::pid_max_is_a_namespaces(t)? {
            return Err(
                t.skip("on this kernel pid_max is the whole machine's (a PID namespace's own since Linux 6.14)")
            );
        }
        sysctl::must_be_writable(t, path)?;
        let outside = t.setup(sysctl::number(path))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let inside =
            || first.call(t, &format!("read({path}) by process 1"), path.to_owned(), |path| sysctl::read_number(&path));
        let set = |value: i64| {
            first.call(t, &format!("write({path}, {value}) by process 1"), (path.to_owned(), value), |(path, value)| {
                sysctl::write(&path, &value.to_string())
            })
        };
        let set_apart = |value: i64| {
            t.check(set(value)?).succeeds()?;
            t.check(inside()?).is(value)?;
            let after = sysctl::number(path);
            if after.result() != Ok(&outside) {
                // A kernel that shares it is put right again.
                let _ = sysctl::write(path, &outside.to_string());
            }
            t.check(after).is(outside)
        };
        match name {
            "ns_last_pid" => {
                // Far from what is given out outside, whatever others do there meanwhile.
                let far = if outside < 12_000 { 20_000 } else { 2_000 };
                t.check(set(far)?).succeeds()?;
                let second = Peer::start(t, "next process", Flags::NONE)?;
                let pid = second.call(t, "getpid() of the next process", (), |()| Ok(i64::from(getpid().as_raw())))?;
                t.check(pid).is(far + 1)?;
                t.check(inside()?).is(far + 1)?;
                t.check(sysctl::number(path))
                    .holds(&format!("little more than {outside}"), |now| (outside..outside + 6_000).contains(now))?;
            }
            "pid_max" => set_apart(t.setup(inside()?)? - 1)?,
            _ => {
                t.check(inside()?).is(outside)?;
                let more = (outside + 1).min(2);
                set_apart(more)?;
                // One level further in.
                let nested =
                    first.call(t, "the same in a PID namespace one level further in", path.to_owned(), |path| {
                        rule_one_level_further_in(&path)
                    })?;
                t.check(nested).is(more)?;
            }
        }
        Ok(())
    }
});

/// The number in a file, as the first child in a PID namespace of its own reads it.
fn rule_one_level_further_in(path: &str) -> Result<i64, Errno> {
    unshare(Flags::NEWPID).result().map_err(Failure::errno)?;
    status_of_child(|| sysctl::read_number(path).unwrap_or(99) as i32).map(i64::from)
}
