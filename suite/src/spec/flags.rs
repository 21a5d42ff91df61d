//! The flag argument of unshare(2), all 64 bits of it.

use std::borrow::Cow;
use std::fmt;

use bitflags::bitflags;

/// A set of flags as unshare(2) takes it: the kernel reads an unsigned long, libc's wrapper an int.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(pub u64);

/// Names of bits, from linux/sched.h. Those that unshare(2) does not accept are clone(2)'s or
/// clone3(2)'s, and keep their names so that a diagnostic says what was tried.
const NAMES: [(u32, &str); 32] = [
    (7, "CLONE_NEWTIME"),
    (8, "CLONE_VM"),
    (9, "CLONE_FS"),
    (10, "CLONE_FILES"),
    (11, "CLONE_SIGHAND"),
    (12, "CLONE_PIDFD"),
    (13, "CLONE_PTRACE"),
    (14, "CLONE_VFORK"),
    (15, "CLONE_PARENT"),
    (16, "CLONE_THREAD"),
    (17, "CLONE_NEWNS"),
    (18, "CLONE_SYSVSEM"),
    (19, "CLONE_SETTLS"),
    (20, "UNSHARE_EMPTY_MNTNS"),
    (21, "CLONE_CHILD_CLEARTID"),
    (22, "CLONE_DETACHED"),
    (23, "CLONE_UNTRACED"),
    (24, "CLONE_CHILD_SETTID"),
    (25, "CLONE_NEWCGROUP"),
    (26, "CLONE_NEWUTS"),
    (27, "CLONE_NEWIPC"),
    (28, "CLONE_NEWUSER"),
    (29, "CLONE_NEWPID"),
    (30, "CLONE_NEWNET"),
    (31, "CLONE_IO"),
    (32, "CLONE_CLEAR_SIGHAND"),
    (33, "CLONE_INTO_CGROUP"),
    (34, "CLONE_AUTOREAP"),
    (35, "CLONE_NNP"),
    (36, "CLONE_PIDFD_AUTOKILL"),
    (37, "CLONE_EMPTY_MNTNS"),
    (63, "1<<63"),
];

bitflags! {
    impl Flags: u64 {
        /// Time namespace of future children (5.6).
        const NEWTIME = 1 << 7;
        /// Address space: never separated, only checked.
        const VM = 1 << 8;
        /// Root, current directory and umask.
        const FS = 1 << 9;
        /// Table of file descriptors.
        const FILES = 1 << 10;
        /// Signal handlers: never separated, only checked.
        const SIGHAND = 1 << 11;
        /// Thread group: never separated, only checked.
        const THREAD = 1 << 16;
        /// Mount namespace.
        const NEWNS = 1 << 17;
        /// System V semaphore undo list (2.6.26).
        const SYSVSEM = 1 << 18;
        /// Empty mount namespace (7.1); clone's CLONE_PARENT_SETTID has the same bit.
        const EMPTY = 1 << 20;
        /// Cgroup namespace (4.6).
        const NEWCGROUP = 1 << 25;
        /// UTS namespace (2.6.19).
        const NEWUTS = 1 << 26;
        /// IPC namespace (2.6.19).
        const NEWIPC = 1 << 27;
        /// User namespace (3.8).
        const NEWUSER = 1 << 28;
        /// PID namespace of future children (3.8).
        const NEWPID = 1 << 29;
        /// Network namespace (2.6.24).
        const NEWNET = 1 << 30;
        // Every bit is an argument that a case may try.
        const _ = !0;
    }
}

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);

    /// All bits that a program of this architecture can pass: the argument is an unsigned long (FLAG-53).
    pub const ARGUMENT: Flags = Flags(usize::MAX as u64);

    /// The highest bit of the argument, its sign. No kernel accepts it. Names of cases, which are the same on every
    /// architecture, do not come from it, nor from [`INVALID`](Self::INVALID).
    pub const TOP: Flags = Flags(1 << (usize::BITS - 1));

    /// A bit that no kernel accepts: in the upper half of the argument if it has one.
    pub const INVALID: Flags = if usize::BITS == 64 { Flags(1 << 40) } else { Flags::TOP };

    /// Each bit of the argument.
    pub fn each_bit() -> impl Iterator<Item = Flags> {
        (0..usize::BITS).map(|bit| Flags(1 << bit))
    }

    /// The fifteen flags that some kernel accepts, in the order of their bits.
    pub const KNOWN: [Flags; 15] = {
        let mut known = [Flags::NONE; 15];
        let mut at = 0;
        while at < known.len() {
            known[at] = *<Flags as bitflags::Flags>::FLAGS[at].value();
            at += 1;
        }
        known
    };

    /// All sets of known flags.
    pub fn every_set() -> impl Iterator<Item = Flags> {
        (0..1u32 << Flags::KNOWN.len()).map(|bits| {
            let chosen = Flags::KNOWN.into_iter().enumerate();
            chosen.filter_map(|(at, flag)| (bits >> at & 1 == 1).then_some(flag)).collect()
        })
    }

    /// The flags that make a namespace, CLONE_NEWUSER excepted: those that need CAP_SYS_ADMIN
    /// (PRIV-03).
    pub const PRIVILEGED: Flags = Flags::NEWTIME
        .union(Flags::NEWNS)
        .union(Flags::EMPTY)
        .union(Flags::NEWCGROUP)
        .union(Flags::NEWUTS)
        .union(Flags::NEWIPC)
        .union(Flags::NEWPID)
        .union(Flags::NEWNET);

    /// The flags as part of a case's name: `newns_fs`, in the order of their bits.
    pub fn slug(self) -> String {
        if self == Flags::NONE {
            return "none".to_owned();
        }
        // Most are of one or two flags.
        let mut slug = String::with_capacity(32);
        for name in self.names() {
            if !slug.is_empty() {
                slug.push('-');
            }
            // Without what they all have in common.
            let own = name.split_once('_').map_or(&*name, |(_, own)| own);
            match own.strip_prefix("1<<") {
                Some(bit) => slug.extend(["bit_", bit]),
                None => slug.push_str(own),
            }
        }
        slug.make_ascii_lowercase();
        slug
    }

    /// Reads what [`Display`](fmt::Display) writes; nothing when it is something else.
    pub fn parse(text: &str) -> Option<Flags> {
        match text {
            "0" => return Some(Flags::NONE),
            "~0" => return Some(Flags(u64::MAX)),
            _ => {}
        }
        text.split('|').try_fold(Flags::NONE, |all, name| {
            let named = NAMES.iter().find(|(_, known)| *known == name);
            let flags = match (named, name.strip_prefix("0x"), name.strip_prefix("1<<")) {
                (Some((bit, _)), ..) => 1 << bit,
                (_, Some(signal), _) => u64::from_str_radix(signal, 16).ok()?,
                (.., Some(bit)) => 1u64.checked_shl(bit.parse().ok()?)?,
                _ => return None,
            };
            Some(all | Flags(flags))
        })
    }

    fn names(self) -> impl Iterator<Item = Cow<'static, str>> {
        let name_of = |bit: u32| NAMES.iter().find(|(b, _)| *b == bit).map(|(_, name)| *name);
        let signal = self.0 & 0x7f;
        let mut rest = self.0 & !0x7f;
        let bits = std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            (rest != 0).then(|| {
                rest &= rest - 1;
                bit
            })
        });
        (signal != 0).then(|| format!("0x{signal:x}").into()).into_iter().chain(bits.map(move |bit| {
            match name_of(bit) {
                Some(name) => name.into(),
                None => format!("1<<{bit}").into(),
            }
        }))
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            u64::MAX => f.write_str("~0"),
            _ => f.write_str(&self.names().collect::<Vec<_>>().join("|")),
        }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_one_writes_them() {
        assert_eq!(Flags::NONE.to_string(), "0");
        assert_eq!((Flags::FS | Flags::NEWNS).to_string(), "CLONE_FS|CLONE_NEWNS");
        assert_eq!(Flags(17).to_string(), "0x11");
        assert_eq!(Flags(1 << 40 | 1 << 9).to_string(), "CLONE_FS|1<<40");
        assert_eq!(Flags(u64::MAX).to_string(), "~0");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for flags in [0, u64::MAX, 0x11, 1 << 9, 1 << 40 | 1 << 17, 3 << 28 | 1 << 63, 1 << 20] {
            assert_eq!(Flags::parse(&Flags(flags).to_string()), Some(Flags(flags)));
        }
        for other in ["", "CLONE_", "1<<64", "CLONE_FS|", "0xx"] {
            assert_eq!(Flags::parse(other), None);
        }
    }

    #[test]
    fn slugs_are_valid_in_names() {
        for bit in 0..64 {
            let slug = Flags(1 << bit).slug();
            assert!(
                slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'),
                "{slug}"
            );
        }
        assert_eq!((Flags::FS | Flags::NEWNS).slug(), "fs-newns");
    }
}
