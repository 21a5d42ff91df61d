//! How a guest is built and booted. Nothing here starts a guest or watches one.
//!
//! Dependencies read downwards: init uses boot, boot and get use image, and all may use programs. The one look back is from
//! image::payload to get::cache, where unpacked kernels are kept.

/// What is in a kernel image, and in which form it boots fastest. Images are untrusted: whatever bytes they hold, reading
/// them ends, and takes bounded memory.
mod image {
    pub mod elf;
    mod format;
    pub mod kconfig;
    pub mod kernel;
    pub mod payload;
    pub mod trial;

    #[cfg(test)]
    mod hostile;
    #[cfg(test)]
    mod samples;
}

/// Where kernels come from, and where they are kept.
mod get {
    pub mod apt;
    pub mod build;
    pub mod cache;
    pub mod library;
    pub mod source;
}

/// What a guest is started with.
mod boot {
    pub mod initramfs;
    pub mod machine;
    pub mod parameters;
}

pub mod init;
mod programs;

pub use boot::{initramfs, machine, parameters};
pub use get::{build, cache, library};
pub use image::{kconfig, kernel, payload, trial};

/// An error and its causes in one line. Our messages never repeat their cause, so nothing is said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
