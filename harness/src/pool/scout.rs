//! What is known before a run: a child looks round in the place that cases will run in.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::wait::waitpid;

use super::RunError;
use crate::facts::Facts;
use crate::sandbox::{self, Sandbox};

/// Gathers the facts of the place that cases will run in.
///
/// # Errors
/// Not even a plain child process can be started.
pub fn facts() -> Result<Facts, RunError> {
    if !Path::new("/proc/self/status").exists() {
        return Err(RunError::NoProc);
    }
    let mut why = Vec::new();
    for kind in sandbox::kinds() {
        let kind = match kind {
            Sandbox::None { .. } => Sandbox::None {
                why: why.join("; "),
            },
            kind => kind,
        };
        match scout(&kind) {
            Ok(facts) => return Ok(facts),
            Err(error) => why.push(error),
        }
    }
    Err(RunError::Supervisor(why.join("; ")))
}

/// Sends a child into a sandbox of this kind to gather facts there.
fn scout(kind: &Sandbox) -> Result<Facts, String> {
    let (mut reader, writer) = UnixStream::pair().map_err(|e| format!("socketpair: {e}"))?;
    let ids = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let pid = sandbox::fork_into(kind).map_err(|errno| format!("clone for {kind}: {errno:?}"))?;
    if pid.as_raw() == 0 {
        drop(reader);
        let result = sandbox::furnish(kind, ids, Path::new("/"))
            .map(|_| Facts::gather(kind.clone()))
            .map_err(|error| error.to_string());
        // In one piece: written as it is made, each comma would be a system call and wake the reader.
        if let Ok(text) = serde_json::to_vec(&result) {
            let _ = (&writer).write_all(&text);
        }
        // SAFETY: ends the scout without the parent's exit handlers.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut text = Vec::new();
    let read = reader.read_to_end(&mut text);
    let _ = waitpid(pid, None);
    read.map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).unwrap_or_else(|_| Err("it died".to_owned()))
}
