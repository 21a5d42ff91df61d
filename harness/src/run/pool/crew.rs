//! Starts, replaces and stops the supervisors of a run.

use super::*;

impl Run<'_, '_> {
    pub(super) fn add_worker(&mut self) -> Result<(), RunError> {
        let (ours, theirs) = UnixStream::pair()?;
        let log = RecordLog::map()?;
        let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let sandbox = &self.setting.facts.sandbox;
        let pid = sandbox::fork_into(sandbox).map_err(|errno| RunError::Supervisor(format!("{errno:?}")))?;
        if pid.as_raw() == 0 {
            drop(ours);
            // With their sockets open here, the other supervisors would not notice that the parent died.
            self.workers.clear();
            let status = serve(theirs, &self.entries, &self.setting, self.options, log, ids);
            exit_now(status)
        }
        self.workers.push(Worker { pid, stream: ours, jobs: VecDeque::new(), log, news: News::default() });
        Ok(())
    }

    /// Replaces a supervisor that died: cleans up after it, starts another one, and requeues its jobs, except the one
    /// that it was running. Returns that job and how the supervisor ended.
    pub(super) fn replace_worker(&mut self, at: usize, queue: &mut VecDeque<Job>) -> Result<(Job, String), RunError> {
        let mut worker = self.workers.remove(at);
        let _ = kill(worker.pid, Signal::SIGKILL);
        let how = match waitpid(worker.pid, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            Ok(WaitStatus::Exited(_, status)) => format!("exited with status {status}"),
            other => format!("{other:?}"),
        };
        let others: Vec<Pid> = self.workers.iter().map(|worker| worker.pid).collect();
        kill_children_but(&others);
        let Some(job) = worker.jobs.pop_front() else {
            return Err(RunError::Supervisor(how));
        };
        worker.jobs.into_iter().rev().for_each(|job| queue.push_front(job));
        self.add_worker()?;
        Ok((job, how))
    }

    pub(super) fn stop_workers(&mut self) {
        for worker in &self.workers {
            let _ = kill(worker.pid, Signal::SIGKILL);
        }
        self.workers.clear();
        kill_children_but(&[]);
    }
}
