//! Runs in which a fault of the kernel is simulated.

use suite::fault::stand_in;

use crate::prelude::*;

/// The options of a run with this fault, if there is one. Fails where [`check_place`] does.
pub fn under(fault: Option<&'static Fault>, options: RunOptions) -> Result<RunOptions> {
    let Some(fault) = fault else {
        return Ok(options);
    };
    check_place()?;
    stand_in::choose(fault);
    let about = fault.about.trim_end_matches('.');
    Ok(RunOptions {
        before_body: Some(stand_in::install),
        // Heads every report, so that none is taken for a verdict.
        caveat: Some(format!("no verdict on this kernel: the fault \"{}\" is simulated ({about})", fault.name)),
        left_out: declared::impossible,
        ..options
    })
}

/// Fails unless faults can be simulated here: by root.
pub fn check_place() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(anyhow!(
        "faults can be simulated by root only: an ordinary user's seccomp filter requires no_new_privs, which changes \
         what cases observe"
    )
    .into())
}
