//! Boots kernels with a trivial init and prints how long each took, the whole of the program's life included.
//!
//! `cargo run --release -p vm --example boot -- KERNEL…`. This example is that init itself. Words that begin with `--`
//! are options: `--lines=N` has the guest write N lines of results, `--as-is` boots a bzImage without unpacking it, `--single-serial`, `--cpus=N`, `--memory=MIB`, `--level=N`, and
//! `--parameter=WORD` for the kernel command line.

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use vm::cache::Cache;
use vm::initramfs::{Initramfs, read_stripped};
use vm::kernel::Kernel;
use vm::machine::{Invocation, Machine, Options, Role};

fn main() -> Result<(), Box<dyn Error>> {
    if vm::init::is_guest_init() {
        match vm::init::set_up(Vec::new, |_| ()) {
            Ok((guest, ..)) => guest.supervise(report),
            Err(error) => vm::init::give_up(&vm::chain(&error)),
        }
    }
    let mut options = Options { arguments: vec!["an argument with a blank".to_owned()], ..Options::default() };
    let mut as_is = false;
    let mut kernels = Vec::new();
    for word in std::env::args().skip(1) {
        match word.split_once('=') {
            _ if word == "--as-is" => as_is = true,
            _ if word == "--single-serial" => options.single_serial = true,
            Some(("--cpus", number)) => options.cpus = number.parse()?,
            Some(("--memory", number)) => options.memory = number.parse()?,
            Some(("--level", number)) => options.console_level = number.parse()?,
            Some(("--parameter", parameter)) => options.kernel_parameters.push(parameter.to_owned()),
            Some(("--lines", number)) => options.arguments = vec![number.to_owned()],
            _ => kernels.push(word),
        }
    }
    let cache = Cache::of_user()?;
    let scratch = tempfile::tempdir()?;
    let image = scratch.path().join("initramfs");
    Initramfs::new(read_stripped(Path::new("/proc/self/exe"))?).write_file(&image)?;
    for path in kernels {
        let start = Instant::now();
        let opened = Kernel::open(Path::new(&path))?;
        let kernel = if as_is { opened } else { vm::payload::unpack(&opened, &cache)? };
        let unpacked = start.elapsed();
        let machine = Machine::for_kernel(&kernel)?;
        machine.locate()?;
        let invocation = machine.invocation(&kernel, &image, scratch.path(), &options)?;
        let outputs = run(&invocation)?;
        println!("{:?} opened in {unpacked:.2?}, ended after {:.2?}", kernel.path(), start.elapsed());
        for (role, text) in outputs {
            println!("  {role:?}: {} bytes, {} lines", text.len(), text.lines().count());
            for line in
                text.lines().rev().take(if role == Role::Results { 8 } else { 4 }).collect::<Vec<_>>().iter().rev()
            {
                println!("    {line}");
            }
        }
    }
    Ok(())
}

/// What the guest says of itself in place of a suite.
fn report(guest: &vm::init::Guest) -> u8 {
    let Ok(mut results) = guest.results() else {
        return 1;
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let _ = writeln!(results, "release {} uptime {}", release.trim(), uptime.trim());
    let _ = writeln!(results, "arguments {:?} results on {}", guest.arguments(), guest.results_name());
    let lines = guest.arguments().first().and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    for number in 0..lines {
        let _ = writeln!(results, "line {number} of {lines}");
    }
    for (mount, errno) in guest.missing_mounts() {
        let _ = writeln!(results, "no {} on {}: {errno}", mount.kind, mount.target);
    }
    0
}

/// Starts the machine, reads its channels until it ends.
fn run(invocation: &Invocation) -> Result<Vec<(Role, String)>, Box<dyn Error>> {
    let mut ours = Vec::new();
    let mut theirs: Vec<(OwnedFd, i32)> = Vec::new();
    for channel in &invocation.channels {
        let (near, far) = UnixStream::pair()?;
        ours.push((channel.role, near));
        // Out of the way of the descriptors that the machine expects.
        theirs.push((nix::fcntl::fcntl(&far, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(64)).map(owned)?, channel.fd));
    }
    let places: Vec<(i32, i32)> = theirs.iter().map(|(fd, place)| (fd.as_raw_fd(), *place)).collect();
    let mut command = Command::new(&invocation.program);
    command.args(&invocation.arguments).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: dup2 may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            places.iter().try_for_each(|&(from, to)| match libc::dup2(from, to) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            })
        });
    }
    let mut child = command.spawn()?;
    drop(theirs);
    let readers: Vec<_> = ours
        .into_iter()
        .map(|(role, mut stream)| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                (role, String::from_utf8_lossy(&bytes).into_owned())
            })
        })
        .collect();
    child.wait()?;
    Ok(readers.into_iter().filter_map(|reader| reader.join().ok()).collect())
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the descriptor was just made and nobody else has it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}
