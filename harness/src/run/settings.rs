//! Machine-wide settings that cases change: kept for the time of a run, and restored after it, or by the next run if
//! this one is killed.

use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use crate::case::needs::{Global, Needs};
use crate::common::*;
use crate::suite::Suite;

use super::pool::RunError;
use super::supervise::{restore_globals, save_globals};

/// Where the next run finds what a killed one left: one file of the suite, a `path value` line for each setting. Root
/// alone writes there, and a boot clears it, as it does the settings.
const DIRECTORY: &str = "/run";

/// The settings that a run may change, as they were before.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    globals: Vec<(Global, String)>,
    /// Locked as long as this run is alive.
    file: Option<(PathBuf, File)>,
}

impl Kept {
    /// Keeps what these needs allow to change.
    ///
    /// # Errors
    /// [`RunError::Disturbed`]: what would be kept may be what another run made of it.
    pub(crate) fn save(suite: &Suite, needs: Needs) -> Result<Kept, RunError> {
        Kept::save_in(Path::new(DIRECTORY), suite, needs)
    }

    fn save_in(directory: &Path, suite: &Suite, needs: Needs) -> Result<Kept, RunError> {
        if save_globals(suite, needs).is_empty() {
            return Ok(Kept::default());
        }
        let path = file_in(directory, suite);
        let file = match open_locked(&path, true) {
            Err(Errno::EAGAIN) => return Err(RunError::Disturbed),
            file => file.ok().filter(|file| restore_from(file, suite)),
        };
        let globals = save_globals(suite, needs);
        let lines: String =
            globals.iter().map(|(global, value)| format!("{} {}\n", global.path(), value.trim())).collect();
        let written = file.filter(|file| file.set_len(0).and_then(|()| file.write_all_at(lines.as_bytes(), 0)).is_ok());
        Ok(Kept { globals, file: written.map(|file| (path, file)) })
    }

    /// Restores them.
    pub(crate) fn restore(self) {
        restore_globals(&self.globals);
        if let Some((path, _locked)) = self.file {
            let _ = fs::remove_file(path);
        }
    }
}

/// Restores what a run that was killed left changed.
pub(crate) fn restore_stale(suite: &Suite) {
    restore_stale_in(Path::new(DIRECTORY), suite);
}

fn restore_stale_in(directory: &Path, suite: &Suite) {
    let path = file_in(directory, suite);
    if open_locked(&path, false).is_ok_and(|file| restore_from(&file, suite)) {
        let _ = fs::remove_file(path);
    }
}

/// Restores what the file says. Whether all of it is as it was.
fn restore_from(file: &File, suite: &Suite) -> bool {
    let mut lines = String::new();
    if (&mut &*file).read_to_string(&mut lines).is_err() {
        return false;
    }
    // Nothing but a setting of this suite is written, whatever the file says.
    let is_ours = |path: &str| suite.globals.iter().any(|global| global.has_value() && global.path() == path);
    let settings = lines.lines().filter_map(|line| line.split_once(' ')).filter(|(path, _)| is_ours(path));
    settings.fold(true, |all, (path, value)| {
        let is_restored =
            fs::read_to_string(path).is_ok_and(|now| now.trim() == value) || fs::write(path, value).is_ok();
        all && is_restored
    })
}

fn file_in(directory: &Path, suite: &Suite) -> PathBuf {
    directory.join(format!("{}.settings", suite.name))
}

/// The file, locked by this process alone: children do not inherit such a lock, so that no orphan of a killed run holds
/// it. EAGAIN if another process does.
fn open_locked(path: &Path, make: bool) -> Result<File, Errno> {
    loop {
        let mut options = File::options();
        options.read(true).write(true).create(make).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).map_err(errno_of)?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&whole))?;
        // It may have been removed before it was locked.
        let number = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        if file.metadata().map(number).ok() == fs::metadata(path).map(number).ok() {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::needs::Change;

    #[test]
    fn what_a_killed_run_changed_is_restored() {
        let directory = tempfile::tempdir().expect("a directory");
        let setting = directory.path().join("setting");
        fs::write(&setting, "1\n").expect("a setting");
        let path: &'static str = setting.to_str().expect("text").to_owned().leak();
        let global = Global::new(0, path, Change::Value);
        let suite = Suite { globals: vec![global].leak(), ..Suite::PLAIN };
        let needs = Needs::NONE.disturbing(global);
        let kept = || Kept::save_in(directory.path(), &suite, needs).expect("the only run");
        let value = || fs::read_to_string(&setting).expect("a setting");

        // As if its run were killed: its lock is gone, its file is not.
        drop(kept());
        fs::write(&setting, "2").expect("a change");
        restore_stale_in(directory.path(), &suite);
        assert_eq!(value(), "1");
        assert!(!file_in(directory.path(), &suite).exists());

        // Another run is killed, and the next one keeps the old value, not the one that was left.
        drop(kept());
        fs::write(&setting, "2").expect("a change");
        kept().restore();
        assert_eq!(value(), "1");

        let ended = kept();
        fs::write(&setting, "3").expect("a change");
        ended.restore();
        assert_eq!(value(), "1");
        assert!(!file_in(directory.path(), &suite).exists());

        // A file that names something else changes nothing.
        let other = directory.path().join("other");
        fs::write(&other, "1").expect("a file");
        fs::write(file_in(directory.path(), &suite), format!("{} 2\n", other.display())).expect("a file");
        restore_stale_in(directory.path(), &suite);
        assert_eq!(fs::read_to_string(&other).expect("a file"), "1");
    }
}
