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

case!(Case {
    name: "separation.user.syntax",
    about: "Writes to setgroups that do not begin at 0, and to it or the maps that are not exactly what may be written, fail \
            (EINVAL) and leave the file to be written.",
    proves: &["EFF-USER-11"],
    run: |t| {
        t.unshare(Flags::NEWUSER).as_predicted()?;
        for text in ["deny x", "denyx", "den", "", "deny    \n"] {
            // A write of nothing reaches the file too.
            t.check(write_at("setgroups", text, 0)).fails_with(Errno::EINVAL)?;
        }
        t.check(write_at("setgroups", "deny", 1)).fails_with(Errno::EINVAL)?;
        for file in ["uid_map", "gid_map"] {
            t.check(write_at(file, "0 4294967290 10", 0)).fails_with(Errno::EINVAL)?;
            t.check(write_at(file, "4294967295 0 1", 0)).fails_with(Errno::EINVAL)?;
        }
        t.check(write_at("setgroups", "deny \n", 0)).succeeds()
    }
});
