//! Writes to the files of a new user namespace that are no such thing (section 3.13 of the behaviour catalogue).

use std::io::{Seek, SeekFrom, Write};

use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7), Defining user and group ID mappings, and The /proc/pid/setgroups file";
const NEEDS: Needs = Needs::NONE.with(feature::CREATE_USER_NS);

/// write(2) to one of the caller's files below /proc/self, from this offset.
fn write_at(file: &str, text: &str, offset: u64) -> Call<()> {
    let path = format!("/proc/self/{file}");
    let written = File::options().read(true).write(true).open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.write(text.as_bytes())
    });
    Call::io(format!("write({path}, {text:?}) at {offset}"), written.map(drop))
}

/// write(2) of four bytes from memory that is not there, to one of the caller's files.
fn write_nothing_there(file: &str) -> Call<()> {
    let path = format!("/proc/self/{file}");
    let written = File::options().write(true).open(&path).map_err(errno_of).and_then(|file| {
        // Nothing is ever mapped in the first page.
        call!(write, file.as_raw_fd(), 8, 4).map(drop).map_err(fds::errno)
    });
    Call::new(format!("write({path}, from address 8)"), written)
}

case!(Case {
    name: "separation.user.syntax",
    about: "Writes to setgroups that do not begin at 0, and to it or the maps that are not exactly what may be written, fail \
            (EINVAL) and leave the file to be written; so do those from memory that is not there (EFAULT).",
    proves: &["EFF-USER-11", "EFF-MAP-15"],
    run: |t| {
        t.unshare(Flags::NEWUSER).as_predicted()?;
        for text in ["deny x", "denyx", "den", "", "deny    ", "deny    \n"] {
            // A write of nothing reaches the file too.
            t.check(write_at("setgroups", text, 0)).fails_with(Errno::EINVAL)?;
        }
        t.check(write_at("setgroups", "deny", 1)).fails_with(Errno::EINVAL)?;
        for file in ["uid_map", "gid_map"] {
            t.check(write_at(file, "0 4294967290 10", 0)).fails_with(Errno::EINVAL)?;
            t.check(write_at(file, "4294967295 0 1", 0)).fails_with(Errno::EINVAL)?;
        }
        for file in ["setgroups", "uid_map", "gid_map"] {
            t.check(write_nothing_there(file)).proves("EFF-MAP-15").fails_with(Errno::EFAULT)?;
        }
        let further = File::options().write(true).open("/proc/self/setgroups").and_then(|mut file| {
            file.write_all(b"deny \n")?;
            Ok(file.write(b"deny").err().and_then(|error| error.raw_os_error()))
        });
        let text = "write(/proc/self/setgroups, deny), and the error of another write where it ended";
        t.check(Call::io(text, further)).proves("EFF-MAP-15").is(Some(libc::EINVAL))
    }
});
