//! Whether guests run under KVM here. That /dev/kvm opens says little: nested and restricted hosts accept the ioctls and
//! then stop the guest with an internal error, or never enter it. A [trial kernel](vm::trial) tells, never the kernel
//! under test: one that does not boot would be slow ever after.

use vm::trial;

use super::process::{Machine, in_memory};
use super::session::Input;
use crate::prelude::*;

/// How long the trial kernel may take to say its line, of the time in which it could run; usually a tenth of that.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Chooses the accelerator of a guest, and explains a choice that the user would not expect.
pub fn decide(asked: AccelArg, kernel: &Kernel, cache: &Cache) -> Result<(Accelerator, Option<String>)> {
    let slow = |why: &str| Some(format!("{why}: the guest is emulated (TCG), which is about ten times slower"));
    match asked {
        AccelArg::Kvm => Ok((Accelerator::Kvm, None)),
        AccelArg::Tcg => Ok((Accelerator::Tcg, None)),
        // Nobody expects anything else.
        AccelArg::Auto if !kernel.architecture().is_accelerated() => Ok((Accelerator::Tcg, None)),
        AccelArg::Auto if File::options().read(true).write(true).open("/dev/kvm").is_err() => {
            Ok((Accelerator::Tcg, slow("/dev/kvm cannot be opened")))
        }
        // What cannot be tried out is not relied on.
        AccelArg::Auto if trial::image().is_none() => {
            Ok((Accelerator::Tcg, slow("KVM is used on this architecture only if --accel kvm asks for it")))
        }
        AccelArg::Auto if runs_under_kvm(cache)? => Ok((Accelerator::Kvm, None)),
        AccelArg::Auto => Ok((Accelerator::Tcg, slow("/dev/kvm opens, but a trial guest does not run under it"))),
    }
}

/// Tries it once as long as what the answer depends on stays the same, and caches the answer.
fn runs_under_kvm(cache: &Cache) -> Result<bool> {
    // Kernels of a matrix are opened in parallel.
    static LAST: Mutex<Option<bool>> = Mutex::new(None);
    let mut last = locked(&LAST);
    if let Some(answer) = *last {
        return Ok(answer);
    }
    let memory = cache.directory("accelerator")?.join("kvm");
    let causes = causes();
    if let Some(answer) = remembered(&std::fs::read_to_string(&memory).unwrap_or_default(), &causes) {
        return Ok(*last.insert(answer));
    }
    let answer = try_it(Accelerator::Kvm)?;
    if let Some(runs) = answer {
        let word = if runs { "yes" } else { "no" };
        // A cache that cannot be written costs the next run a moment.
        let _ = std::fs::write(&memory, format!("{word}\n{causes}"));
    }
    Ok(*last.insert(answer == Some(true)))
}

/// The answer that was written down, if it came of the same causes.
fn remembered(text: &str, causes: &str) -> Option<bool> {
    let (word, of) = text.split_once('\n')?;
    (of == causes).then_some(word == "yes")
}

/// What the answer depends on: this boot of the machine, KVM's modules and their parameters, /dev/kvm, and QEMU.
fn causes() -> String {
    use std::os::unix::fs::MetadataExt;
    let mut causes = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let entries = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<BTreeSet<_>>()
    };
    for module in entries(Path::new("/sys/module")) {
        if module.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kvm")) {
            for parameter in entries(&module.join("parameters")) {
                let value = std::fs::read_to_string(&parameter).unwrap_or_default();
                causes += &format!("{} {}\n", parameter.display(), value.trim());
            }
        }
    }
    let programs = std::env::var_os("PATH").unwrap_or_default();
    let qemu = std::env::split_paths(&programs).map(|directory| directory.join("qemu-system-x86_64"));
    for path in qemu.chain([PathBuf::from("/dev/kvm")]) {
        if let Ok(file) = path.metadata() {
            let (mode, owner, changed) = (file.mode(), (file.uid(), file.gid()), file.ctime());
            causes += &format!("{} {mode:o} {owner:?} {changed}\n", path.display());
        }
    }
    causes
}

/// Boots the trial kernel and waits for its line: whether guests run. None if that is not worth keeping: a machine that
/// ended will say so again at once, or not, if what it lacked was memory or a free /dev/kvm; or a signal came.
fn try_it(accelerator: Accelerator) -> Result<Option<bool>> {
    let Some(image) = trial::image() else {
        return Ok(None);
    };
    let file = tempfile::NamedTempFile::new().context("cannot create a file for the trial kernel")?;
    std::fs::write(file.path(), image).context("cannot write the trial kernel")?;
    let kernel = Kernel::open(file.path())?;
    let nothing = in_memory(&Initramfs::new(&[][..]))?;
    let mut machine = Machine::start(&kernel, &nothing, &Options { accelerator, ..Options::default() })?;
    let mut patience = Patience::new(PATIENCE, Tasks::From(Pid::from_raw(machine.pid() as i32)));
    loop {
        match machine.next(patience.left()) {
            Some(Input::Line(_, line)) if line.contains(trial::LINE) => return Ok(Some(true)),
            Some(Input::Signal(_) | Input::Ended(_)) => return Ok(None),
            // The machine is there and nothing happens in it.
            None if patience.is_over() => return Ok(Some(false)),
            Some(Input::Line(..)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_its_causes() {
        let causes = causes();
        assert_eq!(remembered(&format!("no\n{causes}"), &causes), Some(false));
        assert_eq!(remembered(&format!("yes\n{causes}"), &causes), Some(true));
        assert_eq!(
            remembered(&format!("no\n{causes}"), &(causes.clone() + "/sys/module/kvm_intel/parameters/nested Y\n")),
            None
        );
        // As earlier versions wrote it, of the kernel that was to be tested.
        assert_eq!(remembered(&format!("{} no\n", causes.lines().next().unwrap_or_default()), &causes), None);
    }

    /// That it says no under KVM is KVM's doing.
    #[test]
    fn the_trial_kernel_runs_where_guests_do() {
        match try_it(Accelerator::Tcg) {
            _ if trial::image().is_none() => eprintln!("there is no trial kernel of this architecture"),
            Err(_) => eprintln!("there is no QEMU here"),
            Ok(answer) => assert_eq!(answer, Some(true)),
        }
    }
}
