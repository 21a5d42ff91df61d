//! Kernel settings below /proc/sys. Cases change only those of a namespace of their own.

use crate::spec::prelude::*;

/// The text of a setting, without the end of its line.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: &str) -> Result<String, Errno> {
    let text = fs::read_to_string(path).map_err(errno_of)?;
    Ok(text.trim_end().to_owned())
}

/// The number that a setting is.
///
/// # Errors
/// As [`read`]; EINVAL when it is no number.
pub fn read_number(path: &str) -> Result<i64, Errno> {
    read(path)?.trim().parse().map_err(|_| Errno::EINVAL)
}

/// The number that a setting is for the calling task, as a call that can be judged.
pub fn number(path: &str) -> Call<i64> {
    Call::new(format!("read({path})"), read_number(path))
}

/// Sets it.
///
/// # Errors
/// As open(2) and write(2).
pub fn write(path: &str, value: &str) -> Result<(), Errno> {
    fs::write(path, value).map_err(errno_of)
}

/// Skips a case where a setting does not exist or is out of reach.
///
/// # Errors
/// It does not or is: the case is skipped.
#[track_caller]
pub fn must_be_writable(t: &Test, path: &str) -> Done {
    match File::options().write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(t.skip(format!("{path} does not exist: the kernel was built without it")))
        }
        Err(error) => {
            Err(t.skip(format!("{path} cannot be written ({error}): run as root, where /proc/sys is not read-only")))
        }
    }
}
