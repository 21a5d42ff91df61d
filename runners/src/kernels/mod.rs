//! Kernels that a guest can boot: found, fetched, built, and their configurations checked.

pub mod image;

use indicatif::ProgressFinish;
use vm::kconfig::{Configuration, Fragment, Unmet, sentence};
use vm::library::Entry;

use crate::guest::open_kernel;
use crate::prelude::*;
use crate::run::progress::style;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance kernels list
  unshare-conformance --kernel $(unshare-conformance kernels fetch 6.1)
  unshare-conformance kernels fetch 5.10.223 6.12 uml-6.1
  unshare-conformance kernels fetch --arch arm64 6.12
  unshare-conformance kernels build ~/linux -o /tmp/boot
  unshare-conformance kernels config > guest.config
  unshare-conformance kernels config arch/x86/boot/bzImage";

/// The arguments of `kernels`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KernelsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the fetched kernels and those in Debian's archive, oldest first
    List {
        /// Only fetched kernels; does not use the network
        #[arg(long)]
        fetched: bool,
        #[command(flatten)]
        arch: ArchArg,
        /// Output format
        #[arg(long, value_enum, default_value = "text")]
        format: ListFormat,
    },
    /// Fetch kernels from Debian's archive and print the paths of their images
    ///
    /// Nothing is installed, and this machine's apt is not touched. A fetched kernel is not fetched again.
    Fetch {
        /// A release as `list` shows it, or a prefix, which means the newest match; 6.12:arm64 is as --arch arm64 6.12
        #[arg(required = true)]
        release: Vec<String>,
        #[command(flatten)]
        arch: ArchArg,
    },
    /// Build a kernel for guests from a source tree and print the path of its image
    ///
    /// The tree is not changed. A second build of the same tree is incremental.
    Build(BuildArgs),
    /// Print the config fragment a guest kernel needs, or the options a kernel is missing
    ///
    /// The missing options are printed as a fragment to merge. Exits with 125 if such a kernel cannot reach
    /// the suite at all.
    Config {
        #[command(flatten)]
        arch: ArchArg,
        /// A kernel image, a build tree, a fetched release, or a .config
        #[arg(value_name = "PATH|RELEASE")]
        kernel: Option<String>,
    },
}

/// Whose kernels.
#[derive(Debug, Args)]
struct ArchArg {
    /// Architecture of the kernels: x86_64, i386, arm64, riscv64, s390x or ppc64le, or Debian's name for it
    /// [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,
}

impl ArchArg {
    fn asked(&self) -> Architecture {
        self.arch.unwrap_or_else(Architecture::host)
    }
}

/// The fragments of `vm/kconfig` that are not for every kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Addition {
    /// gcov's counters in what unshare(2) reaches (`ci/coverage` reads them)
    Coverage,
    /// Allocations that fail on request, for the group `allocations.`
    FaultInjection,
    /// Lock order, locks in interrupts, RCU (PROVE_LOCKING)
    Lockdep,
    /// Object poisoning, list and reference count checks, sleeping in atomic context
    Debug,
    /// Use after free and out-of-bounds access; run the guest with --memory 1024
    Kasan,
    /// Data races; conflicts with kasan
    Kcsan,
    /// Memory that nothing points to any more; a guest looks for it at the end
    Kmemleak,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// A kernel source tree
    tree: PathBuf,
    #[command(flatten)]
    arch: ArchArg,
    /// Enable further checks or features of the kernel
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    with: Vec<Addition>,
    /// A further config fragment, which may override ours; may be repeated
    #[arg(long, value_name = "FILE")]
    fragment: Vec<PathBuf>,
    /// Also copy the image and its configuration to this directory, as vmlinuz-RELEASE and config-RELEASE
    #[arg(long, short, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Runs a command of `kernels`.
pub fn run(args: &KernelsArgs) -> Result<ExitStatus> {
    match &args.command {
        Command::List { fetched, format, arch } => list(*fetched, arch.asked(), *format),
        Command::Fetch { release, arch } => fetch(release, arch),
        Command::Build(args) => build(args),
        Command::Config { kernel, arch } => config(kernel.as_deref(), arch),
    }
}

/// A kernel as a list shows it.
#[derive(Serialize)]
struct Listed {
    release: String,
    architecture: &'static str,
    version: String,
    image: Option<PathBuf>,
}

fn list(fetched: bool, architecture: Architecture, format: ListFormat) -> Result<ExitStatus> {
    let library = Library::of(architecture, Cache::of_user()?);
    // Without the archive the fetched kernels are still listed.
    let found = if fetched { Ok(library.fetched()) } else { shown(|step| library.list(step)) };
    let (entries, unreached) = match found {
        Ok(entries) => (entries, None),
        Err(error) => (library.fetched(), Some(error)),
    };
    let status = stdout::print(match format {
        ListFormat::Text => aligned(&entries),
        ListFormat::Json => {
            let listed = |Entry { release, architecture, version, image }| {
                let architecture = architecture.name();
                Listed { release, architecture, version, image }
            };
            stdout::json(&entries.into_iter().map(listed).collect::<Vec<_>>())
        }
    })?;
    unreached.map_or(Ok(status), |error| Err(error.into()))
}

/// Aligned for people, and still three words a line for programs: a path has no blanks unless the
/// user's cache has.
fn aligned(entries: &[Entry]) -> String {
    let width = |text: fn(&Entry) -> &str| entries.iter().map(|entry| text(entry).len()).max().unwrap_or_default();
    let (release, version) = (width(|entry| &entry.release), width(|entry| &entry.version));
    let line = |entry: &Entry| {
        let image = entry.image.as_deref().map_or("-".into(), |image| image.to_string_lossy());
        let known = if entry.version.is_empty() { "-" } else { &entry.version };
        format!("{:release$}  {known:version$}  {image}\n", entry.release)
    };
    entries.iter().map(line).collect()
}

fn fetch(releases: &[String], arch: &ArchArg) -> Result<ExitStatus> {
    let cache = Cache::of_user()?;
    for name in releases {
        let (release, named) = vm::library::parts_of(name);
        if let (Some(named), Some(asked)) = (named, arch.arch)
            && named != asked
        {
            let why = format!("{name} is not for {asked}: leave --arch out, or the architecture behind the release");
            return Err(Contradiction(why).into());
        }
        let library = Library::of(named.unwrap_or_else(|| arch.asked()), cache.clone());
        let entry = shown(|step| library.fetch(release, step))?;
        let image = entry.image.context("the fetched kernel has no image")?;
        if entry.release != *release {
            eprintln!("unshare-conformance: {release} is {} ({})", entry.release, entry.version);
        }
        stdout::print(format!("{}\n", image.display()))?;
    }
    Ok(ExitStatus::Conforms)
}

fn build(args: &BuildArgs) -> Result<ExitStatus> {
    let cache = Cache::of_user()?;
    let additions: Vec<Fragment> =
        args.with.iter().filter_map(|addition| Fragment::addition(&name_of(addition))).collect();
    let built =
        shown(|step| vm::build::build(&args.tree, args.arch.asked(), &additions, &args.fragment, &cache, step))?;
    if let Some(sentence) = sentence(&built.unmet) {
        eprintln!("unshare-conformance: {sentence}; cases that require it are skipped");
    }
    let image = match &args.output {
        Some(directory) => put(&built.kernel, &built.output, directory)?,
        None => built.kernel.path().to_owned(),
    };
    stdout::print(format!("{}\n", image.display()))
}

/// Copies a kernel and its configuration under the names by which they find each other.
fn put(kernel: &Kernel, built_in: &Path, directory: &Path) -> Result<PathBuf> {
    let release = kernel.release().unwrap_or("unknown");
    std::fs::create_dir_all(directory).map_err(Unwritable::new("the directory", directory))?;
    let copy = |from: &Path, name: String| {
        let to = directory.join(name);
        std::fs::copy(from, &to).map_err(Unwritable::new("the file", &to))?;
        Result::Ok(to)
    };
    copy(&built_in.join(".config"), format!("config-{release}"))?;
    copy(kernel.path(), format!("vmlinuz-{release}"))
}

fn config(kernel: Option<&str>, arch: &ArchArg) -> Result<ExitStatus> {
    let Some(name) = kernel else {
        let text = |fragment: Fragment| format!("# {}\n{}\n", fragment.name(), fragment.text().trim_end());
        let boot = Fragment::boot(arch.asked(), Kind::Image);
        return stdout::print(text(boot) + &text(Fragment::guest(arch.asked())));
    };
    let (architecture, kind, configuration) = configuration_of(name, arch)?;
    let to_boot = Fragment::boot(architecture, kind).unmet(&configuration);
    let for_cases = Fragment::guest(architecture).unmet(&configuration);
    stdout::print(
        fragment(&to_boot, "without these it cannot reach the suite")
            + &fragment(&for_cases, "without these some cases are skipped, or it boots more slowly"),
    )?;
    Ok(if to_boot.is_empty() { ExitStatus::Conforms } else { ExitStatus::NothingToSay })
}

/// A fragment, which can be merged as it is.
fn fragment(unmet: &[Unmet], why: &str) -> String {
    let heading = (!unmet.is_empty()).then(|| format!("# {why}\n"));
    heading.into_iter().chain(unmet.iter().map(|option| format!("{option}\n"))).collect()
}

/// The configuration of a kernel, and its kind of guest.
fn configuration_of(name: &str, arch: &ArchArg) -> Result<(Architecture, Kind, Configuration)> {
    if let Some(configuration) = configuration_file(Path::new(name)) {
        let kind = if configuration.is_built_in("UML") { Kind::UserMode } else { Kind::Image };
        let architecture = arch.arch.or_else(|| Architecture::of_configuration(&configuration));
        return Ok((architecture.unwrap_or_else(Architecture::host), kind, configuration));
    }
    let cache = Cache::of_user()?;
    let mut kernel = open_kernel(name, &cache)?;
    if kernel.configuration().is_none() {
        kernel = vm::payload::unpack(&kernel, &cache)?;
    }
    match kernel.configuration() {
        Some(configuration) => Ok((kernel.architecture(), kernel.kind(), configuration.clone())),
        None => Err(anyhow!(
            "the configuration of {} is unknown: it was built without CONFIG_IKCONFIG=y, so put its .config beside \
             vmlinuz-RELEASE as config-RELEASE, or give the .config itself",
            kernel.path().display()
        )
        .into()),
    }
}

/// The configuration that a file holds, if it holds one.
fn configuration_file(path: &Path) -> Option<Configuration> {
    // Text throughout, and at least one option: no image is.
    let text = path.is_file().then(|| std::fs::read_to_string(path).ok())??;
    Some(Configuration::parse(&text)).filter(|configuration| configuration.iter().next().is_some())
}

/// Does work that tells its steps, and shows the current one on the last line of a terminal; nothing elsewhere.
fn shown<T>(work: impl FnOnce(&mut dyn FnMut(&str)) -> T) -> T {
    let style = style("{spinner} {elapsed} {wide_msg}");
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    let spinner = spinner.with_finish(ProgressFinish::AndClear);
    work(&mut |line| spinner.set_message(line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_addition_has_its_fragment() {
        for addition in Addition::value_variants() {
            assert!(Fragment::addition(&name_of(addition)).is_some(), "{addition:?}");
        }
        assert_eq!(Addition::value_variants().len(), Fragment::additions().len());
    }

    #[test]
    fn a_list_is_aligned_and_has_three_words_a_line() {
        let entry = |release: &str, version: &str, image: Option<&str>| Entry {
            release: release.to_owned(),
            architecture: Architecture::X86_64,
            version: version.to_owned(),
            image: image.map(PathBuf::from),
        };
        let entries = [entry("6.1.0-56-cloud-amd64", "6.1.187-1", Some("/k/vmlinuz")), entry("7.3", "", None)];
        let expected = "6.1.0-56-cloud-amd64  6.1.187-1  /k/vmlinuz\n7.3                   -          -\n";
        assert_eq!(aligned(&entries), expected);
    }

    #[test]
    fn a_configuration_is_told_from_an_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for (content, is_one) in
            [(&b"# Linux\nCONFIG_USER_NS=y\n"[..], true), (b"\x7fELF\xff\xfe", false), (b"plain words\n", false)]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(configuration_file(&path).is_some(), is_one, "{content:?}");
        }
        assert!(configuration_file(directory.path()).is_none());
    }
}
