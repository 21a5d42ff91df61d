//! unshare(2) where no file system can be written to (section 8 of the behaviour catalogue).

use crate::prelude::*;

case!(Case {
    name: "interactions.read_only",
    about: "No flag needs a file system that can be written to: with every mount read-only all of them succeed and \
            change what they name.",
    proves: &["INT-30"],
    source: "kernel, kernel/fork.c",
    needs: Needs::ROOT,
    quick: one_in(4, 0),
    variants: variants::each_flag,
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let directory = t.directory()?.join("file");
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let none: Option<&str> = None;
        for line in t.setup(Call::new("read(mountinfo)", mounts()))? {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            // A mount that another covers cannot be reached, and one may be locked by who made it.
            let _ = mount(none, line.point(), none, flags, none);
        }
        for (what, path) in
            [("private directory", directory.as_path()), ("root directory", "/unshare-conformance".as_ref())]
        {
            let written = Call::io(format!("open(O_CREAT) in the {what}"), File::create(path).map(drop));
            if written.result() != Err(Failure::Errno(Errno::EROFS)) {
                return Err(t.broken("remount of all mounts read-only", format!("{written:?}")));
            }
        }
        let prediction = t.unshare(t.param::<Flags>()).beside(&[&peer]).prediction()?;
        check_separated(t, &peer, &prediction, "INT-30")
    })
});
