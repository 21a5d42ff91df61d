//! A system call that was made: how it is written in C, and its result.
//!
//! Every observation a case judges is a [`Call`], so that a failing check can always say which call it was about, in
//! the words a kernel developer would use.

use crate::common::*;

/// How a call failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It failed with this errno.
    Errno(Errno),
    /// It returned this number, which is neither 0, the only success, nor a known errno.
    Returned(i64),
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Errno(Errno::UnknownErrno) => write!(f, "unknown errno"),
            Failure::Errno(errno) => write!(f, "{errno:?}"),
            // Errno values that the kernel should never leak, such as ERESTARTSYS (512).
            Failure::Returned(value @ -4095..0) => write!(f, "unknown errno {}", -value),
            Failure::Returned(value) => write!(f, "{value} (success is 0)"),
        }
    }
}

impl Failure {
    /// The errno; EPROTO, which unshare(2) gives for nothing else, where the kernel gave none that has a name.
    pub fn errno(self) -> Errno {
        match self {
            Failure::Errno(errno) => errno,
            Failure::Returned(_) => Errno::EPROTO,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Errno(errno)
    }
}

/// The errno of an error of the standard library; EIO where it has none.
pub fn errno_of(error: io::Error) -> Errno {
    error.try_into().unwrap_or(Errno::EIO)
}

/// A call as written in C, and its result.
#[derive(Clone, Debug)]
#[must_use = "a call that nobody checks proves nothing: pass it to `check` or `setup`"]
pub struct Call<V> {
    text: Cow<'static, str>,
    result: Result<V, Failure>,
}

impl<V> Call<V> {
    /// A call and its result.
    pub fn new(text: impl Into<Cow<'static, str>>, result: Result<V, Errno>) -> Self {
        Self { text: text.into(), result: result.map_err(Failure::Errno) }
    }

    /// A call made through the standard library. An error without an errno becomes EIO.
    pub fn io(text: impl Into<Cow<'static, str>>, result: io::Result<V>) -> Self {
        Self::new(text, result.map_err(errno_of))
    }

    /// Something observed rather than called, e.g. "the parent's cwd".
    pub fn seen(text: impl Into<Cow<'static, str>>, value: V) -> Self {
        Self { text: text.into(), result: Ok(value) }
    }

    /// The call as written in C.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its result.
    pub fn result(&self) -> Result<&V, Failure> {
        self.result.as_ref().map_err(|failure| *failure)
    }

    /// What came of it, as a question to another task can be answered.
    ///
    /// # Errors
    /// As the call, by [`Failure::errno`].
    pub fn answer(self) -> Result<V, Errno> {
        self.result.map_err(Failure::errno)
    }

    /// The same call under another name.
    pub fn called(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), result: self.result }
    }

    /// The same call with its value changed.
    pub fn map<W>(self, change: impl FnOnce(V) -> W) -> Call<W> {
        Call { text: self.text, result: self.result.map(change) }
    }

    pub(crate) fn into_parts(self) -> (Cow<'static, str>, Result<V, Failure>) {
        (self.text, self.result)
    }
}

impl Call<()> {
    /// A raw system call whose only success is 0, from the register the kernel returned (−4095…−1 is −errno).
    pub fn zero_on_success(text: impl Into<Cow<'static, str>>, register: i64) -> Self {
        let result = match register {
            0 => Ok(()),
            -4095..0 => Err(match Errno::from_raw(-register as i32) {
                Errno::UnknownErrno => Failure::Returned(register),
                errno => Failure::Errno(errno),
            }),
            other => Err(Failure::Returned(other)),
        };
        Self { text: text.into(), result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_success() {
        assert_eq!(Call::zero_on_success("f(0)", 0).result(), Ok(&()));
        assert_eq!(Call::zero_on_success("f(0)", -22).result(), Err(Failure::Errno(Errno::EINVAL)));
        assert_eq!(Call::zero_on_success("f(0)", 7).result(), Err(Failure::Returned(7)));
        // A value below −4095 is an address-like success of some other call, never 0.
        assert_eq!(Call::zero_on_success("f(0)", -5000).result(), Err(Failure::Returned(-5000)));
    }

    #[test]
    fn a_leaked_restart_code_is_not_mistaken_for_a_known_errno() {
        let call = Call::zero_on_success("f(0)", -512);
        assert_eq!(format!("{:?}", call.result().unwrap_err()), "unknown errno 512");
    }
}
