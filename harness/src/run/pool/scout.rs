//! Gathers facts before a run, in a child inside a sandbox as cases will have.

use super::*;

/// Gathers the facts about the place that cases will run in.
///
/// # Errors
/// /proc is not mounted, or not even a plain child process can be started.
pub fn facts(suite: &Suite) -> Result<Facts, RunError> {
    serde_json::from_slice(&facts_as_json(suite)?).map_err(|error| RunError::Supervisor(error.to_string()))
}

/// The same as JSON, for a process that only passes them on.
///
/// # Errors
/// As [`facts`].
pub fn facts_as_json(suite: &Suite) -> Result<Vec<u8>, RunError> {
    if !Path::new("/proc/self/status").exists() {
        return Err(RunError::NoProc);
    }
    let mut why = Vec::new();
    for kind in sandbox::kinds() {
        let kind = match kind {
            Sandbox::None { .. } => Sandbox::None { why: why.join("; ") },
            kind => kind,
        };
        match scout(&kind, suite) {
            Ok(facts) => return Ok(facts),
            Err(error) if why.contains(&error) => {}
            Err(error) => why.push(error),
        }
    }
    Err(RunError::Supervisor(why.join("; ")))
}

/// First byte of the child's answer if facts follow, or if the reason for having none does; and the last byte, which a
/// truncated answer lacks.
const FACTS: u8 = b'+';
const REASON: u8 = b'-';
const END: u8 = b'\n';

/// Sends a child into a sandbox of this kind to gather facts there.
fn scout(kind: &Sandbox, suite: &Suite) -> Result<Vec<u8>, String> {
    let (mut reader, writer) = UnixStream::pair().map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE) => format!("{error}: close inherited descriptors, or raise RLIMIT_NOFILE (ulimit -Hn)"),
        _ => format!("socketpair: {error}"),
    })?;
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let pid = sandbox::fork_into(kind).map_err(|errno| format!("clone for {kind}: {errno:?}"))?;
    if pid.as_raw() == 0 {
        drop(reader);
        inherited::normalise();
        let answer = match sandbox::furnish(kind, suite.name, ids, Path::new("/")) {
            Ok(_) => {
                let mut answer = vec![FACTS];
                serde_json::to_writer(&mut answer, &Facts::gather(kind.clone(), suite)).map(|()| answer)
            }
            Err(error) => Ok([&[REASON], error.to_string().as_bytes()].concat()),
        };
        // In one piece: written as it is formatted, each comma would be a system call and wake the reader.
        if let Ok(mut answer) = answer {
            answer.push(END);
            let _ = (&writer).write_all(&answer);
        }
        exit_now(0)
    }
    drop(writer);
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    let _ = waitpid(pid, None);
    read.map_err(|e| e.to_string())?;
    match answer.as_slice() {
        [FACTS, facts @ .., END] => Ok(facts.to_vec()),
        [REASON, reason @ .., END] => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("the child that gathers facts died".to_owned()),
    }
}
