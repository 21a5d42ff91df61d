//! unshare(2) in a Landlock domain (section 8 of the behaviour catalogue).

use crate::prelude::*;

/// struct landlock_ruleset_attr in its first form: rights to files that are taken away.
#[repr(C)]
struct Ruleset {
    handled: u64,
}

const LANDLOCK_CREATE_RULESET: libc::c_long = 444;
const LANDLOCK_RESTRICT_SELF: libc::c_long = 446;
/// LANDLOCK_ACCESS_FS_MAKE_REG.
const MAKE_FILES: u64 = 1 << 8;

/// Makes a file in an open directory, and removes it.
fn make_file(directory: &File) -> Result<(), Errno> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the name lives through the calls; the descriptor is closed where it was opened.
    unsafe {
        let fd = Errno::result(libc::openat(directory.as_raw_fd(), c"made".as_ptr(), flags, 0o600))?;
        libc::close(fd);
        Errno::result(libc::unlinkat(directory.as_raw_fd(), c"made".as_ptr(), 0)).map(drop)
    }
}

case!(Case {
    name: "interactions.landlock",
    about: "A Landlock domain survives every flag: what it forbids stays forbidden, also with all the capabilities \
            of a new user namespace and in a new mount namespace.",
    proves: &["INT-20"],
    source: "landlock(7)",
    quick: one_in(4, 0),
    variants: variants::each_flag,
    run: |t| {
        let flags = t.param::<Flags>();
        let directory = t.setup(Call::io("open(private directory)", File::open(t.directory()?)))?;
        let ruleset = Ruleset { handled: MAKE_FILES };
        // SAFETY: the rules live through the call; a new descriptor comes of it.
        let made = unsafe { libc::syscall(LANDLOCK_CREATE_RULESET, &raw const ruleset, size_of::<Ruleset>(), 0) };
        let ruleset = match Errno::result(made) {
            Ok(fd) => fd,
            Err(errno @ (Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM)) => {
                return Err(t.skip(format!(
                    "Landlock is not active here ({errno:?}): it takes Linux 5.13 and landlock in the \
                     kernel's lsm= list"
                )));
            }
            Err(errno) => return t.setup(Call::new("landlock_create_ruleset()", Err(errno))),
        };
        t.setup(Call::new("openat(O_CREAT)", make_file(&directory)))?;
        t.setup(seccomp::set_no_new_privs())?;
        // SAFETY: takes numbers.
        let restricted = unsafe { libc::syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) };
        t.setup(Call::new("landlock_restrict_self()", Errno::result(restricted)))?;
        // SAFETY: closes the descriptor from above.
        unsafe { libc::close(ruleset as i32) };
        let forbidden = |when: &str| {
            t.check(Call::new(format!("openat(O_CREAT) {when}"), make_file(&directory))).fails_with(Errno::EACCES)
        };
        forbidden("in the domain")?;
        t.unshare(flags).as_predicted()?;
        forbidden(&format!("in the domain after unshare({flags})"))
    }
});
