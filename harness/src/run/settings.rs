//! Machine-wide settings that cases change: kept for the time of a run, and restored after it, or by the next run if
//! this one is killed.

use std::fs::TryLockError;

use crate::case::needs::{Global, Needs};
use crate::common::*;
use crate::suite::Suite;

use super::supervise::{restore_globals, save_globals};

/// Where the next run finds what a killed one left: one file of the suite, one line for each setting, its path and its
/// value. Root alone writes there.
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
    pub(crate) fn save(suite: &Suite, needs: Needs) -> Kept {
        Kept::save_in(Path::new(DIRECTORY), suite, needs)
    }

    fn save_in(directory: &Path, suite: &Suite, needs: Needs) -> Kept {
        let globals = save_globals(suite, needs);
        if globals.is_empty() {
            return Kept::default();
        }
        let lines: String =
            globals.iter().map(|(global, value)| format!("{} {}\n", global.path(), value.trim())).collect();
        let path = file_in(directory, suite);
        // Another run that is alive has the values, or has changed them.
        let file = open(&path).filter(|file| file.try_lock().is_ok());
        let written = file.filter(|file| file.set_len(0).and_then(|()| (&*file).write_all(lines.as_bytes())).is_ok());
        Kept { globals, file: written.map(|file| (path, file)) }
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
    let Ok(mut file) = File::open(&path) else {
        return;
    };
    let mut lines = String::new();
    match file.try_lock() {
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return,
        Ok(()) if file.read_to_string(&mut lines).is_err() => return,
        Ok(()) => {}
    }
    for (path, value) in lines.lines().filter_map(|line| line.split_once(' ')) {
        // Nothing but a setting of this suite is written, whatever the file says.
        if suite.globals.iter().any(|global| global.has_value() && global.path() == path) {
            let _ = fs::write(path, value);
        }
    }
    let _ = fs::remove_file(path);
}

fn file_in(directory: &Path, suite: &Suite) -> PathBuf {
    directory.join(format!("{}.settings", suite.name))
}

fn open(path: &Path) -> Option<File> {
    File::options().create(true).write(true).truncate(false).open(path).ok()
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
        let value = || fs::read_to_string(&setting).expect("a setting");

        let alive = Kept::save_in(directory.path(), &suite, needs);
        fs::write(&setting, "2").expect("a change");
        restore_stale_in(directory.path(), &suite);
        assert_eq!(value(), "2", "while the run is alive");
        // As if it were killed: its lock is gone, its file is not.
        drop(alive);
        restore_stale_in(directory.path(), &suite);
        assert_eq!(value(), "1");
        assert!(!file_in(directory.path(), &suite).exists());

        let ended = Kept::save_in(directory.path(), &suite, needs);
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
