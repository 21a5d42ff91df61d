//! Asks a guest that does not answer where its tasks stand, through QMP, QEMU's control protocol.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::machine::Machine;

/// How long QEMU gets to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has the guest's CPUs print where they are, by a non-maskable interrupt. Says what was done.
pub fn ask_for_stacks(machine: &mut Machine) -> String {
    let Some(monitor) = machine.monitor() else {
        return "this machine has no way to ask for stacks".to_owned();
    };
    match inject_nmi(monitor) {
        Ok(()) => "its stacks were asked for by NMI and are on the console".to_owned(),
        Err(error) => format!("its stacks could not be asked for: {error}"),
    }
}

fn inject_nmi(monitor: &mut UnixStream) -> std::io::Result<()> {
    monitor.set_read_timeout(Some(PATIENCE))?;
    monitor.set_write_timeout(Some(PATIENCE))?;
    for command in ["qmp_capabilities", "inject-nmi"] {
        writeln!(monitor, "{{\"execute\":\"{command}\"}}")?;
        let mut answers = BufReader::new(monitor.try_clone()?);
        loop {
            let mut line = String::new();
            if answers.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("QEMU has hung up"));
            }
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(error) = answer.get("error") {
                return Err(std::io::Error::other(error["desc"].to_string()));
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}
