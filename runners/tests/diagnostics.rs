//! What a failing case says, under two dozen faults: does the first line tell a kernel developer what is
//! wrong? What differs from run to run and from machine to machine (process IDs, inodes, IDs of
//! mounts, lines of source) is taken out.

mod driver;

use driver::*;

/// A fault, and a case that notices it.
const SAID: [(&str, &str); 24] = [
    ("success-without-doing", "separation.fs.kcmp"),
    ("done-and-no-memory", "flags.root.26_newuts"),
    ("returns-one", "flags.root.09_fs"),
    ("restart-leaks", "flags.root.10_files"),
    ("truncated-to-32-bits", "flags.high_bit.files"),
    ("unknown-bits-accepted", "flags.root.12_pidfd"),
    ("signal-number-accepted", "flags.signal_number"),
    ("partly-done", "atomicity.newns.refused_pid"),
    ("mounts-first", "atomicity.newns.refused_pid"),
    ("drops-files-beside-others", "sweep.files_sharer"),
    ("adds-newuts", "implied.nothing.files"),
    ("claims-newns", "sweep.lone"),
    ("fs-survives-refusal", "flags.valid_and_invalid.fs"),
    ("einval-as-eperm", "order.flags_before_privilege"),
    ("eperm-as-einval", "privilege.sys_admin_needed.newuts"),
    ("enospc-as-eusers", "limits.zero.newuts"),
    ("threads-not-checked", "flags.second_thread.leader.thread"),
    ("ia32-does-nothing", "flags.ia32.files"),
    ("changes-umask", "flags.root.09_fs"),
    ("changes-close-on-exec-lost", "flags.repeat.nothing_shared.files"),
    ("host-name-of-new-uts", "flags.root.26_newuts"),
    ("undo-applied-twice", "implied.undo_shared.sysvsem"),
    ("privilege-by-user-namespace", "privilege.all_but_sys_admin.newnet"),
    ("never-returns", "flags.root.09_fs"),
];

fn main() {
    let trial = |(fault, case)| {
        let name = format!("{fault}.{case}");
        as_root(&name.clone(), move || {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(name.as_str(), said(fault, case));
            });
        })
    };
    conclude(SAID.map(trial).into(), false);
}

fn said(fault: &str, case: &str) -> String {
    let mut arguments = vec!["run", "--fault", fault, "--exact", case, "--seed", "1"];
    arguments.extend(["--tier", "quick", "--format", "tap"]);
    if fault == "never-returns" {
        arguments.extend(["--timeout", "1s"]);
    }
    text(&run(&arguments))
        .lines()
        .skip_while(|line| !line.contains("ok 1"))
        .filter(|line| !line.starts_with('#') && !line.contains("hanging process"))
        // How much a sweep compares, and in which larger sets it finds the same, is the kernel's
        // and the seed's.
        .take_while(|line| !case.starts_with("sweep.") || !line.contains("also:"))
        .map(|line| steady(line) + "\n")
        .collect()
}

/// A line without what is another number elsewhere.
fn steady(line: &str) -> String {
    if let Some((head, name)) = line.split_once("host name went from ") {
        let name = name.split_once(" to ").map_or(name, |(_, name)| name);
        return format!("{}host name went from NAME to {name}", steady(head));
    }
    let line = line.split(" (and in ").next().unwrap_or(line);
    if let Some((head, file)) = line.split_once(" at: ") {
        let file = file.rsplit_once(':').map_or(file, |(file, _)| file);
        return format!("{head} at: {file}:LINE");
    }
    let mut steady = String::new();
    for run in line.as_bytes().chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit()) {
        // Inodes of namespaces, and IDs of mounts.
        let of_mount = line.contains("mount ID") && (steady.ends_with("from ") || steady.ends_with(" to "));
        let varies = run[0].is_ascii_digit() && (run.len() >= 7 || of_mount);
        steady.push_str(if varies { "N" } else { str::from_utf8(run).expect("whole characters") });
    }
    steady
}
