//! Faults of single flags, for each of the fifteen.

use super::always;
use crate::fault::Fault;
use crate::fault::lie::{What, When};
use crate::spec::flags::Flags;

pub(super) fn faults() -> Vec<Fault> {
    Flags::KNOWN.into_iter().flat_map(of).collect()
}

fn of(flag: Flags) -> Vec<Fault> {
    let (name, slug, breaks) = (flag.to_string(), flag.slug().replace('_', "-"), requirements(flag));
    let mut faults = vec![
        always(
            format!("drops-{slug}"),
            format!("{name} is ignored."),
            "A branch that is never taken, or a kernel that knows the bit and not what to do.",
            breaks,
            What::Change(flag, Flags::NONE),
        ),
        always(
            format!("drops-{slug}-beside-others"),
            format!("{name} is ignored when another flag is given, too."),
            "An else too many between two resources.",
            breaks,
            What::Change(flag, Flags::NONE),
        )
        .when(When::Several),
        always(
            format!("adds-{slug}"),
            format!("Every call does {name}, too."),
            "A flag that others imply by mistake, or a bit that is tested with the wrong mask.",
            breaks,
            What::Change(Flags::NONE, flag),
        ),
        always(
            format!("refuses-{slug}"),
            format!("{name} gives EINVAL."),
            "A kernel in which the bit is missing from the mask of known flags.",
            breaks,
            What::Answer(-(libc::EINVAL as i64)),
        )
        .when(When::Any(flag))
        .blunt(),
        always(
            format!("claims-{slug}"),
            format!("A call with {name} gives 0 and does nothing."),
            "A new namespace that is made and never switched to.",
            breaks,
            What::Answer(0),
        )
        .when(When::Any(flag)),
    ];
    let does_something = !(Flags::VM | Flags::SIGHAND | Flags::THREAD).contains(flag);
    if does_something {
        faults.push(always(
            format!("{slug}-survives-refusal"),
            format!("A call with {name} that is refused has separated it all the same."),
            "A resource that is switched before the last step that can fail.",
            &["ATOM-01"],
            What::Half(flag),
        ));
        faults.push(
            always(
                format!("{slug}-done-and-refused"),
                format!("A call with {name} is done and gives ENOMEM."),
                "An error of a last step that is not undone.",
                &["ATOM-01"],
                What::DoAndAnswer(-(libc::ENOMEM as i64)),
            )
            .when(When::Any(flag)),
        );
    } else {
        faults.push(
            always(
                format!("{slug}-in-company"),
                format!("{name} gives 0 although the caller has other threads, or shares its memory."),
                "A check of threads and sharers that is missing, or looks at the wrong count.",
                breaks,
                What::Forget(libc::EINVAL),
            )
            .when(When::Any(flag))
            .when(When::InCompany),
        );
    }
    faults
}

/// Requirements that a kernel with a fault in this flag breaks.
fn requirements(flag: Flags) -> &'static [&'static str] {
    match flag {
        Flags::NEWTIME => &["EFF-TIME-01"],
        Flags::VM => &["ERR-06", "EFF-VM-01"],
        Flags::FS => &["EFF-FS-01"],
        Flags::FILES => &["EFF-FILES-01"],
        Flags::SIGHAND => &["ERR-12", "EFF-VM-01"],
        Flags::THREAD => &["ERR-03", "EFF-VM-01"],
        Flags::NEWNS => &["EFF-MNT-01"],
        Flags::SYSVSEM => &["EFF-SEM-01"],
        Flags::EMPTY => &["EFF-EMPTY-01"],
        Flags::NEWCGROUP => &["EFF-CG-01"],
        Flags::NEWUTS => &["EFF-UTS-01"],
        Flags::NEWIPC => &["EFF-IPC-01"],
        Flags::NEWUSER => &["EFF-USER-01"],
        Flags::NEWPID => &["EFF-PID-01"],
        _ => &["EFF-NET-01"],
    }
}
