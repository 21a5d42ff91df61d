//! A supervisor process, from both sides.

use super::*;

/// A supervisor, seen from the reporting process.
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) stream: UnixStream,
    /// Jobs without an answer; it runs the first.
    pub(super) jobs: VecDeque<Job>,
    /// The log of its cases.
    pub(super) log: RecordLog,
    /// What the kernel said while its first job ran, if it was read when another one ended.
    pub(super) news: News,
}

/// Main function of a supervisor: prepares, then answers jobs until the reporting process hangs up. Returns the exit
/// status.
pub(super) fn serve(
    mut stream: UnixStream,
    entries: &[Entry],
    setting: &Setting,
    options: &RunOptions,
    log: RecordLog,
    ids: (u32, u32),
) -> i32 {
    // Before anything is made: whatever the umask is.
    inherited::normalise();
    // A supervisor never outlives the run.
    let _ = set_pdeathsig(Signal::SIGKILL);
    let sandbox = &setting.facts.sandbox;
    let has_sandbox = !matches!(sandbox, Sandbox::None { .. });
    let fallback = setting.base.join(std::process::id().to_string());
    if !has_sandbox && fs::create_dir(&fallback).is_err() {
        return 2;
    }
    let supervisor = sandbox::furnish(sandbox, setting.suite.name, ids, &fallback).and_then(|base| {
        let setting = Setting { base, ..setting.clone() };
        Supervisor::start(setting, log, has_sandbox)
    });
    let mut supervisor = match supervisor {
        Ok(supervisor) => supervisor,
        Err(error) => {
            eprintln!("{}: a supervisor cannot be set up: {error}", setting.suite.name);
            return 3;
        }
    };
    while let Ok(job) = receive::<Job>(&mut stream) {
        let item = &entries[job.index as usize].item;
        let deadline = options.timeout.unwrap_or(item.case.deadline) * options.slowdown.max(1);
        let observation = supervisor.run(item, job.repetition, deadline);
        if send(&mut stream, &observation).is_err() {
            break;
        }
    }
    0
}
