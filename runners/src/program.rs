//! This program, built for other architectures: where it is, and whether a file is one that a kernel can run.

use std::os::unix::process::CommandExt;

use vm::initramfs::ProgramError;

use crate::cli::exit::Failure;
use crate::prelude::*;

/// This program's own file.
pub const ITSELF: &str = "/proc/self/exe";

/// The program's name.
const NAME: &str = "unshare-conformance";

/// Where packages put it, below a prefix.
const PACKAGED: &str = "lib/unshare-conformance";

/// The program that is to be the init of guests whose kernel is of this architecture: the one that was asked for, or
/// this program as built for an ABI, that architecture's own if none is given.
///
/// # Errors
/// It cannot be found, or such a kernel does not run it.
pub fn init(asked: Option<&Path>, abi: Option<Abi>, architecture: Architecture) -> Result<PathBuf> {
    let abi = abi.unwrap_or(architecture.abi());
    let path = asked.map_or_else(|| find(abi), |path| Ok(path.to_owned()))?;
    let found = check(&path, architecture)?;
    if asked.is_none() && found != abi {
        return Err(is_not_for(&path, abi));
    }
    Ok(path)
}

/// Goes on as this program built for another ABI, on this machine's kernel and with the same arguments; does nothing if
/// it is built for that itself.
///
/// # Errors
/// It cannot be found, or this kernel does not run it.
pub fn go_on_as(abi: Abi) -> Result<()> {
    if Abi::host() == Some(abi) {
        return Ok(());
    }
    let path = find(abi)?;
    // Else it would look for itself.
    if !vm::initramfs::abi_of(&path).is_ok_and(|found| found == abi) {
        return Err(is_not_for(&path, abi));
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| NAME.into());
    let error = std::process::Command::new(&path).arg0(name).args(arguments).exec();
    Err(match error.raw_os_error() {
        Some(libc::ENOEXEC) => not_run(abi, "this kernel", "it").into(),
        _ => anyhow!(error).context(format!("cannot execute {}", path.display())).into(),
    })
}

fn is_not_for(path: &Path, abi: Abi) -> Failure {
    WrongInput(format!("{} is no static program for {abi}: `ci/cross {abi}` builds one", path.display())).into()
}

/// That a kernel does not run programs of this ABI.
fn not_run(abi: Abi, kernel: &str, it: &str) -> anyhow::Error {
    let what = abi.option().map(|option| format!(": {it} requires CONFIG_{option}"));
    anyhow!("{kernel} does not run programs for {abi}{}", what.unwrap_or_default())
}

/// Fails if a guest's kernel is known not to run programs of this ABI.
///
/// # Errors
/// It does not.
pub fn is_run_by(abi: Abi, kernel: &Kernel) -> Result<()> {
    match (abi.option(), kernel.configuration()) {
        (Some(option), Some(configuration))
            if abi != kernel.architecture().abi() && !configuration.is_built_in(option) =>
        {
            Err(not_run(abi, &kernel.path().display().to_string(), "that").into())
        }
        _ => Ok(()),
    }
}

/// This program as built for an ABI: itself, or the first that is found beside it, where packages put it, and in the
/// directory that cargo builds in.
///
/// # Errors
/// There is none. The message says how to get one.
pub fn find(abi: Abi) -> Result<PathBuf> {
    if Abi::host() == Some(abi) {
        return Ok(PathBuf::from(ITSELF));
    }
    let itself = std::env::current_exe().context("cannot find this program's own file")?;
    candidates(&itself, abi).into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let why = format!(
            "there is no {NAME}-{abi} beside this program: `ci/cross {abi}` builds one, or give --init PATH for a guest"
        );
        WrongInput(why).into()
    })
}

/// Where the program for an ABI may be, seen from this one, in the order in which they are tried.
fn candidates(itself: &Path, abi: Abi) -> Vec<PathBuf> {
    let directory = itself.parent().unwrap_or(Path::new("/"));
    let mut candidates = vec![directory.join(format!("{NAME}-{abi}"))];
    let prefixes = directory.parent().into_iter().chain([Path::new("/usr")]);
    candidates.extend(prefixes.map(|prefix| prefix.join(PACKAGED).join(abi.name()).join(NAME)));
    // cargo marks the directory that it builds in, and there those of targets. Tests and examples lie deeper.
    let marked = itself.ancestors().skip(1).take(5).filter(|ancestor| ancestor.join("CACHEDIR.TAG").is_file());
    candidates.extend(marked.map(|target| target.join(abi.rust_target()).join("release").join(NAME)));
    candidates
}

/// The ABI of the program at `path`, which is to be the init of a guest whose kernel is of this architecture.
///
/// # Errors
/// It is no program that such a kernel can start by itself.
pub fn check(path: &Path, architecture: Architecture) -> Result<Abi> {
    let wrong = |why: String| WrongInput(format!("{} {why}", path.display()));
    let native = architecture.abi();
    let abi = match vm::initramfs::abi_of(path) {
        Ok(abi) => abi,
        Err(ProgramError::Unreadable(error)) => {
            return Err(wrong(format!("cannot be read ({error}): give --init a static program for {native}")).into());
        }
        Err(error) => return Err(wrong(format!("{error}: give --init a static program for {native}")).into()),
    };
    if !architecture.abis().contains(&abi) {
        let why = format!(
            "is a program for {abi}, which a kernel for {architecture} does not run: `ci/cross {native}` builds one that \
             it runs"
        );
        return Err(wrong(why).into());
    }
    Ok(abi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_where_they_are_built_and_installed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        let own = target.join("x86_64-unknown-linux-gnu/release");
        std::fs::create_dir_all(&own).unwrap();
        let itself = own.join(NAME);
        let of = |abi| candidates(&itself, abi);
        let names = [own.join("unshare-conformance-s390x"), target.join("x86_64-unknown-linux-gnu")];
        assert_eq!(of(Abi::S390x)[..2], [names[0].clone(), names[1].join("lib/unshare-conformance/s390x").join(NAME)]);
        assert_eq!(of(Abi::S390x)[2..], [Path::new("/usr/lib/unshare-conformance/s390x").join(NAME)]);
        for marked in [&target, &target.join("x86_64-unknown-linux-gnu")] {
            std::fs::write(marked.join("CACHEDIR.TAG"), "").unwrap();
        }
        assert_eq!(of(Abi::Aarch64).last(), Some(&target.join("aarch64-unknown-linux-gnu/release").join(NAME)));
    }

    #[test]
    fn a_program_that_the_kernel_cannot_start_is_refused() {
        let own = Path::new("/proc/self/exe");
        let told = |path: &str, architecture| check(Path::new(path), architecture).unwrap_err().to_string();
        if let Some(abi) = Abi::host() {
            assert_eq!(check(own, Architecture::host()).unwrap(), abi);
            let other = if abi == Abi::S390x { Architecture::Arm64 } else { Architecture::S390x };
            let why = told("/proc/self/exe", other);
            assert!(why.contains(&format!("a program for {abi}, which a kernel for {other} does not run")), "{why}");
        }
        let why = told("/proc/version", Architecture::Arm64);
        assert!(why.contains("is no ELF program: give --init a static program for aarch64"), "{why}");
        assert!(told("/nonexistent", Architecture::Arm64).contains("cannot be read"));
        assert!(told("/bin/sh", Architecture::Arm64).contains("is not linked statically"));
    }
}
