//! Network settings that a new network namespace can write (section 3.9 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "network_namespaces(7); kernel, net/sysctl_net.c; CVE-2021-38209";
// On a kernel that is wrong the initial namespace's settings change, until the case puts them back.
const NEEDS: Needs = Needs::ROOT.with(feature::NET_NS).with(feature::INITIAL_ROOT).disturbing(global::NETWORK_SETTINGS);
const DEADLINE: Duration = Duration::from_secs(60);

const ROOT: &str = "/proc/sys/net";

/// Switches netfilter's hooks in lightweight tunnels on, in all namespaces and for good: it has a case of its own.
const ONE_WAY: &str = "/proc/sys/net/netfilter/nf_hooks_lwtunnel";

/// The settings below a directory that can be read and written, by their mode; where asked for, also those that each
/// device has, which are the same functions many times.
fn settings_below(directory: &Path, of_devices: bool, found: &mut Vec<String>) -> io::Result<()> {
    if !of_devices && directory.file_name().is_some_and(|name| name == "conf" || name == "neigh") {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // One may go with its device.
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            settings_below(&path, of_devices, found)?;
        } else if meta.mode() & 0o600 == 0o600 && path != Path::new(ONE_WAY) {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Values that a setting can have instead of this: a number one more or less, or the first of several words.
fn others(value: &str) -> Vec<String> {
    let words: Vec<_> = value.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    match first.parse::<i64>() {
        Ok(number) => [number.checked_add(1), number.checked_sub(1), Some(1), Some(0), Some(2)]
            .into_iter()
            .flatten()
            .filter(|other| *other != number)
            .map(|other| [&[other.to_string().as_str()], rest].concat().join(" "))
            .collect(),
        Err(_) if rest.is_empty() => Vec::new(),
        Err(_) => vec![(*first).to_owned()],
    }
}

/// The values of settings; nothing where one cannot be read.
fn values(paths: Vec<String>) -> Result<Vec<Option<String>>, Errno> {
    Ok(paths.iter().map(|path| sysctl::read(path).ok()).collect())
}

/// Gives a setting another value, and returns what it reads then.
fn change(path: &str, value: &str) -> Option<String> {
    others(value).into_iter().find_map(|other| {
        sysctl::write(path, &other).ok()?;
        sysctl::read(path).ok().filter(|now| now != value)
    })
}

case!(Case {
    name: "separation.net.written_sysctls",
    about: "Whatever root, or the root of a new user namespace, can write below /proc/sys/net of a new network namespace \
            is a setting of that namespace: the initial one keeps its own.",
    proves: &["EFF-NET-08"],
    variants: || vec![
        Variant::new("newnet", Flags::NEWNET),
        Variant::new("newuser-newnet", Flags::NEWUSER | Flags::NEWNET)
            .needing(NEEDS.with(feature::CREATE_USER_NS).with(feature::MAP_IDS)),
    ],
    quick: one_in(2, 1),
    run: |t| {
        let flags: Flags = t.param();
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let ids = (geteuid().as_raw(), getegid().as_raw());
        t.unshare(flags).beside(&[&outside]).as_predicted()?;
        if flags.contains(Flags::NEWUSER) {
            limits::map_ids(t, ids.0, ids.1)?;
        }
        let mut paths = Vec::new();
        t.setup(Call::io(
            format!("readdir({ROOT})"),
            settings_below(Path::new(ROOT), t.tier() != Tier::Quick, &mut paths),
        ))?;
        let before = outside.setup(t, "read(settings outside)", paths.clone(), values)?;
        let mut changed = Vec::new();
        for (path, outside) in paths.into_iter().zip(before) {
            let (Some(outside), Ok(own)) = (outside, sysctl::read(&path)) else { continue };
            if let Some(now) = change(&path, &own) {
                changed.push((path, outside, own, now));
            }
        }
        if changed.is_empty() {
            return Err(t.skip(format!("{ROOT} has no setting that can be written: run where /proc/sys is writable")));
        }
        let paths: Vec<_> = changed.iter().map(|(path, ..)| path.clone()).collect();
        let after = outside.call(t, "read(settings outside)", paths, values);
        // Also where the task outside did not answer.
        for (path, _, own, _) in &changed {
            let _ = sysctl::write(path, own);
        }
        t.note(format!("{} settings were changed", changed.len()));
        let after = t.setup(after?)?;
        let leaked = changed.iter().zip(after).filter(|((_, before, _, now), after)| {
            // Whatever else changes outside meanwhile does not come to have just the value that was written here.
            after.as_ref().is_some_and(|after| after != before && after == now)
        });
        let leaked: Vec<_> = leaked.map(|((path, ..), _)| path.clone()).collect();
        t.check(Call::seen("settings of the initial namespace that changed with the new one's", leaked)).is(vec![])
    }
});

case!(Case {
    name: "separation.net.lwtunnel_sysctl",
    about: "The root of a new user namespace cannot switch netfilter's hooks in lightweight tunnels on for the initial \
            network namespace, too.",
    proves: &["EFF-NET-08"],
    source: "kernel, net/netfilter/nf_hooks_lwtunnel.c; Documentation/networking/nf_conntrack-sysctl.rst",
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::MAP_IDS),
    from: Tier::Full,
    run: |t| {
        if !t.has_own_kernel() {
            return Err(t.skip("what it may switch on cannot be switched off again: run it in a guest"));
        }
        match sysctl::read(ONE_WAY) {
            Err(Errno::ENOENT) => {
                return Err(t.skip("this kernel has no nf_hooks_lwtunnel: CONFIG_NETFILTER and CONFIG_LWTUNNEL"));
            }
            value if value == Ok("1".to_owned()) => return Err(t.skip("nf_hooks_lwtunnel is 1 already")),
            value => t.setup(Call::new("read(nf_hooks_lwtunnel)", value))?,
        };
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let ids = (geteuid().as_raw(), getegid().as_raw());
        t.unshare(Flags::NEWUSER | Flags::NEWNET).beside(&[&outside]).as_predicted()?;
        limits::map_ids(t, ids.0, ids.1)?;
        // Whether it may be written does not matter, if it is not the other namespace's.
        let _ = sysctl::write(ONE_WAY, "1");
        let text = "read(nf_hooks_lwtunnel) outside, after a write of 1 inside";
        t.check(outside.call(t, text, ONE_WAY.to_owned(), |path| sysctl::read(&path))?).is("0".to_owned())
    }
});
