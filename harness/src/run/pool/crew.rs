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
        self.workers.push(Worker::new(pid, ours, log));
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

    /// Kills a supervisor that hangs, and reports the case that it was running. If it does not die, the kernel holds it
    /// for ever: what others do would hang as well, so the run ends.
    pub(super) fn give_up_on(&mut self, at: usize, queue: &mut VecDeque<Job>) -> Result<(), RunError> {
        let worker = &mut self.workers[at];
        let Some(&job) = worker.jobs.front() else {
            return Ok(());
        };
        let limit = deadline(&self.entries[job.index as usize].item, self.options);
        let mut hints = vec!["its supervisor hung as well".to_owned()];
        hints.extend(where_it_hangs(worker.pid));
        let records = worker.log.read();
        let _ = kill(worker.pid, Signal::SIGKILL);
        let died = wait_until_dead(worker.pid, pidfd_open(worker.pid).as_ref(), KILL_PATIENCE);
        if died {
            self.replace_worker(at, queue)?;
        } else {
            worker.jobs.pop_front();
            self.stuck = Some("a supervisor survived SIGKILL, so the kernel cannot be tested any further".to_owned());
        }
        let ending = Ending::TimedOut { after: limit, hints, survived: !died };
        let mut observation = Observation::new(ending);
        observation.records = records;
        self.take(at, job, observation)
    }

    pub(super) fn stop_workers(&mut self) {
        for worker in &self.workers {
            let _ = kill(worker.pid, Signal::SIGKILL);
        }
        self.workers.clear();
        kill_children_but(&[]);
    }
}
