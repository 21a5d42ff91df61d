//! Whether a guest actually boots under KVM here. That /dev/kvm opens says little: nested and restricted
//! hosts accept the ioctls and then stop the guest with an internal error, or never enter it.

use vm::machine::Accelerator;

use super::process::{Machine, in_memory};
use super::session::Input;
use crate::prelude::*;

/// How long a kernel under KVM may take to print its first line; usually a tenth of that.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Chooses the accelerator of a guest, and explains a choice that the user would not expect.
pub fn decide(asked: AccelArg, kernel: &Kernel, cache: &Cache) -> Result<(Accelerator, Option<String>)> {
    let slow = |why: &str| Some(format!("{why}: the guest is emulated (TCG), which is about ten times slower"));
    match asked {
        AccelArg::Kvm => Ok((Accelerator::Kvm, None)),
        AccelArg::Tcg => Ok((Accelerator::Tcg, None)),
        AccelArg::Auto if File::options().read(true).write(true).open("/dev/kvm").is_err() => {
            Ok((Accelerator::Tcg, slow("/dev/kvm cannot be opened")))
        }
        AccelArg::Auto if runs_under_kvm(kernel, cache)? => Ok((Accelerator::Kvm, None)),
        AccelArg::Auto => Ok((Accelerator::Tcg, slow("no guest boots under KVM here"))),
    }
}

/// Tries it once per boot of this machine, and caches the result.
fn runs_under_kvm(kernel: &Kernel, cache: &Cache) -> Result<bool> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = cache.directory("accelerator")?.join("kvm");
    if let Ok(known) = std::fs::read_to_string(&memory)
        && let Some(answer) = known.strip_prefix(boot.trim())
        && !boot.trim().is_empty()
    {
        return Ok(answer.trim() == "yes");
    }
    let Some(answer) = try_kvm(kernel)? else {
        return Ok(false);
    };
    let word = if answer { "yes" } else { "no" };
    // A cache that cannot be written costs the next run a moment.
    let _ = std::fs::write(&memory, format!("{} {word}\n", boot.trim()));
    Ok(answer)
}

/// Boots the kernel with an empty init under KVM and waits for its first line. No answer if a signal asks this
/// process to end meanwhile.
fn try_kvm(kernel: &Kernel) -> Result<Option<bool>> {
    let nothing = in_memory(&Initramfs::new(&[][..]))?;
    let options = Options {
        accelerator: Accelerator::Kvm,
        single_serial: true,
        console_level: 8,
        kernel_parameters: vec!["earlyprintk=serial,ttyS0".to_owned()],
        ..Options::default()
    };
    let mut machine = Machine::start(kernel, &nothing, &options)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match machine.next(end.saturating_duration_since(Instant::now())) {
            Some(Input::Line(_, line)) if line.contains("Linux version") => return Ok(Some(true)),
            Some(Input::Signal(_)) => return Ok(None),
            Some(Input::Line(..)) if Instant::now() < end => {}
            Some(Input::Line(..) | Input::Ended(_)) | None => return Ok(Some(false)),
        }
    }
}
