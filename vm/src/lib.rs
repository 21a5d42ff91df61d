//! How a guest is built and booted: kernels found, fetched, unpacked and built; the initramfs and the init in it; the
//! machine and its command line. Nothing here starts a guest or watches one.

pub mod apt;
pub mod build;
pub mod cache;
mod elf;
pub mod init;
pub mod initramfs;
pub mod kconfig;
pub mod kernel;
pub mod library;
pub mod machine;
pub mod parameters;
pub mod payload;

/// What is wrong, in one line: the error and its causes. A message of ours never repeats its source, so each is told
/// once.
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
