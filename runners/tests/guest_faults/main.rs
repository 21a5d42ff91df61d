//! Guests that go wrong, end to end: each fault has its own ending, text and exit status, every case of
//! the plan has a result, and nothing is left behind.
//!
//! With real guests, under emulation. The kernel is the release 6.1 that `kernels fetch` fetched, or the
//! one that UNSHARE_CONFORMANCE_TEST_KERNEL names; user-mode Linux where it makes a difference.

mod before;
#[path = "../driver/mod.rs"]
mod driver;
mod guest;
mod running;
