//! What other network namespaces know of a new one, and what it starts with (section 3.9 of the behaviour catalogue).

use crate::place::net_ids::{Listener, give, id_of};
use crate::prelude::*;

const SOURCE: &str = "ip-netns(8); rtnetlink(7); kernel, net/core/net_namespace.c";
const NEEDS: Needs = Needs::ROOT.with(feature::NET_NS);

/// How long a worker of the kernel may take to let go of a network namespace (RULE-05), on real hardware.
const RELEASE: Duration = Duration::from_secs(10);

case!(Case {
    name: "separation.net.ids",
    about: "A network namespace can give an ID to a new one, and until that ends to no other (EEXIST). When it has ended, its \
            ID is free, listeners have heard of it, and the IDs of others stay.",
    proves: &["EFF-NET-10"],
    run: |t| {
        const LEAVING: i32 = 7;
        const STAYING: i32 = 3;
        // The IDs are those of a namespace that is nobody else's.
        t.unshare(Flags::NEWNET).as_predicted()?;
        let [leaving, staying, next] = ["task that leaves", "task that stays", "task that comes next"].map(|name| {
            let peer = Peer::start(t, name, Flags::NONE)?;
            t.check(unshare_by(t, &peer, Flags::NEWNET)?).succeeds()?;
            Ok(peer)
        });
        let (leaving, staying, next) = (leaving?, staying?, next?);
        let pid = |peer: &Peer| peer.pid().as_raw();
        let listener = t.setup(Call::new("socket(AF_NETLINK)", Listener::open()))?;
        for (peer, id) in [(&leaving, LEAVING), (&staying, STAYING)] {
            t.check(Call::new(format!("the ID of the {}", peer.name()), id_of(pid(peer)))).is(-1)?;
            let text = format!("giving the ID {id} to the {} by netlink", peer.name());
            t.check(Call::new(text, give((pid(peer), id)))).succeeds()?;
            t.check(Call::new(format!("the ID of the {}", peer.name()), id_of(pid(peer)))).is(id)?;
        }
        let text = format!("giving the ID {LEAVING} to the {} by netlink", next.name());
        let give_again = || give((pid(&next), LEAVING));
        t.check(Call::new(text.clone(), give_again())).fails_with(Errno::EEXIST)?;
        leaving.end();
        let mut given = Err(Errno::EEXIST);
        t.wait_until(RELEASE, || {
            given = give_again();
            given != Err(Errno::EEXIST)
        });
        t.check(Call::new(text, given)).succeeds()?;
        let mut gone = Vec::new();
        t.wait_until(RELEASE, || {
            gone.extend(listener.gone());
            !gone.is_empty()
        });
        t.check(Call::seen("IDs of which it was told that they have gone", gone)).is(vec![LEAVING])?;
        for (peer, id) in [(&next, LEAVING), (&staying, STAYING)] {
            t.check(Call::new(format!("the ID of the {}", peer.name()), id_of(pid(peer)))).is(id)?;
        }
        Ok(())
    }
});

/// Settings that no other has a say in.
const CORE: &str = "/proc/sys/net/core";

/// The settings of the calling task's network namespace, with their values; those that cannot be read are left out.
fn core_settings((): ()) -> Result<BTreeMap<String, String>, Errno> {
    let entries = fs::read_dir(CORE).map_err(errno_of)?;
    let paths = entries.flatten().map(|entry| entry.path().to_string_lossy().into_owned());
    Ok(paths.filter_map(|path| sysctl::read(&path).ok().map(|value| (path, value))).collect())
}

case!(Case {
    name: "separation.net.first_settings",
    about: "The settings below /proc/sys/net/core of a network namespace that unshare(2) makes are those of one that \
            clone(2) makes.",
    proves: &["EFF-NET-11"],
    source: "network_namespaces(7); kernel, net/core/net_namespace.c",
    run: |t| {
        if !Path::new(CORE).exists() {
            return Err(t.skip(format!("there is no {CORE}: run where /proc/sys is complete")));
        }
        let cloned = Peer::start(t, "task that clone(CLONE_NEWNET) made", Flags::NEWNET)?;
        t.unshare(Flags::NEWNET).beside(&[&cloned]).as_predicted()?;
        let theirs = cloned.setup(t, "read(settings)", (), core_settings)?;
        let own = t.setup(Call::new("read(settings)", core_settings(())))?;
        t.note(format!("{} settings", own.len()));
        let names = |settings: &BTreeMap<String, String>| settings.keys().cloned().collect::<Vec<_>>();
        t.check(Call::seen("names of the settings", names(&own))).is(names(&theirs))?;
        all(own
            .into_iter()
            .map(|(path, value)| t.check(Call::seen(path.clone(), Some(value))).is(theirs.get(&path).cloned())))
    }
});
