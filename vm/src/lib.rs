//! How a guest is built and booted. Nothing here starts a guest or watches one.
//!
//! Dependencies read downwards: init uses boot, boot and get use image, and all may use programs. The one look back is from
//! image::payload to get::cache, where unpacked kernels are kept.

/// What is in a kernel image, and in which form it boots fastest. Images are untrusted: whatever bytes they hold, reading
/// them ends, and takes bounded memory.
mod image {
    pub mod elf;
    pub mod format;
    pub mod kconfig;
    pub mod kernel;
    pub mod payload;
    pub mod trial;

    #[cfg(test)]
    mod hostile;
    #[cfg(test)]
    pub mod samples;
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

/// What most files of this crate use.
mod common {
    pub(crate) use std::ffi::OsString;
    pub(crate) use std::fmt;
    pub(crate) use std::fs::File;
    pub(crate) use std::io::{self, Read, Seek, Write};
    pub(crate) use std::ops::Range;
    pub(crate) use std::path::{Path, PathBuf};
    pub(crate) use std::process::Command;
    pub(crate) use std::time::SystemTime;

    pub(crate) use serde::Deserialize;

    pub(crate) use crate::architecture::Architecture;
    pub(crate) use crate::get::cache::{Cache, CacheError};
    pub(crate) use crate::get::source::{Offer, Place, Source, SourceError};
    pub(crate) use crate::image::elf::{LARGEST, PT_LOAD, PT_NOTE, elf_extent, loaded_extent};
    pub(crate) use crate::image::format::Flaw;
    pub(crate) use crate::image::kconfig::{Configuration, Fragment, UML_MARKER};
    pub(crate) use crate::image::kernel::{Kernel, KernelError, Kind};
    pub(crate) use crate::programs::{self, Failure, Progress, in_path};
}

pub mod architecture;
pub mod huge_text;
pub mod init;
mod lost_memory;
mod programs;

pub use boot::{initramfs, machine, parameters};
pub use get::{build, cache, library};
pub use image::{kconfig, kernel, payload, trial};

/// An error and its causes in one line. Our messages never repeat their cause, so nothing is said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
