//! Builds a kernel for guests from a source tree: tinyconfig and our fragments, out of the tree, with the tree's own
//! scripts (Documentation/kbuild/kconfig.rst).

use std::os::unix::ffi::OsStrExt;

use crate::common::*;
use crate::image::kconfig::{Unmet, sentence};

/// A kernel that was built.
#[derive(Debug)]
pub struct Built {
    /// The kernel.
    pub kernel: Kernel,
    /// The directory it was built in, for `make O=`.
    pub output: PathBuf,
    /// Options of the fragments that did not take effect: this tree does not know them, or a dependency is off.
    pub unmet: Vec<Unmet>,
}

/// Why a kernel was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No kernel sources.
    #[error("{0} is not a kernel source tree: Kbuild, Makefile or scripts/kconfig/merge_config.sh is missing")]
    NotATree(PathBuf),
    /// The tree was built in place, which its Makefile does not combine with `O=`.
    #[error("{0} was configured in place: give it to --kernel as it is, or run `make mrproper` there and build again")]
    ConfiguredInPlace(PathBuf),
    /// The build directory cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A fragment of the user's cannot be found.
    #[error("there is no fragment {0} (give the path of a file with CONFIG_ lines)")]
    NoFragment(PathBuf, #[source] io::Error),
    /// A tool is missing or cannot be started.
    #[error("cannot start {0} (install what kernel builds need: make, a compiler, flex, bison, bc, libelf)")]
    NotStarted(String, #[source] io::Error),
    /// A step failed. With the command, the source tree and the line that is most likely the reason.
    #[error("`{0}` failed in {1} ({2}): fix the tree, or install what the message names")]
    Failed(String, PathBuf, String),
    /// The configuration lacks what a guest cannot boot without.
    #[error("this tree cannot be configured for guests: {0}")]
    Unbootable(String),
    /// The build succeeded but left no usable kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Builds the kernel of the tree at `tree` for an architecture, in the cache; the next build of the same is
/// incremental. Where this machine's own compiler does not do, Debian's for that architecture is used, unless the
/// environment has CROSS_COMPILE or LLVM. `additions` are fragments of ours beside those that every guest needs,
/// `extra` are fragments of the user's, which may override ours. `progress` receives every line that make prints.
///
/// # Errors
/// The tree cannot be built, or guests cannot boot its kernel.
pub fn build(
    tree: &Path,
    architecture: Architecture,
    additions: &[Fragment],
    extra: &[PathBuf],
    cache: &Cache,
    progress: Progress<'_>,
) -> Result<Built, BuildError> {
    let merge = "scripts/kconfig/merge_config.sh";
    if !["Kbuild", "Makefile", merge].iter().all(|name| tree.join(name).is_file()) {
        return Err(BuildError::NotATree(tree.to_owned()));
    }
    // The same test as in the tree's Makefile.
    if tree.join(".config").exists() || tree.join("include/config").exists() {
        return Err(BuildError::ConfiguredInPlace(tree.to_owned()));
    }
    let tree = tree.canonicalize().map_err(CacheError::at(tree))?;
    let of_architecture = match architecture {
        // As they were called when there was no other.
        Architecture::X86_64 => name_of(&tree),
        other => format!("{}-{other}", name_of(&tree)),
    };
    let output = cache.directory(&format!("builds/{of_architecture}"))?;
    let config = output.join(".config");
    let variables = additions.iter().flat_map(Fragment::make_variables).collect();
    let mut make = Make { tree: &tree, output: &output, architecture, variables, progress };
    let target = target(architecture);
    let (boot, guest) = (Fragment::boot(architecture, target.kind), Fragment::guest(architecture));

    make.run("tinyconfig")?;
    let mut fragments = Vec::new();
    for fragment in [&boot, &guest].into_iter().chain(additions) {
        let path = output.join(fragment.name());
        std::fs::write(&path, fragment.text()).map_err(CacheError::at(&path))?;
        fragments.push(path);
    }
    for path in extra {
        // The script runs elsewhere, so it needs whole paths.
        fragments.push(path.canonicalize().map_err(|source| BuildError::NoFragment(path.clone(), source))?);
    }
    let mut command = Command::new("sh");
    command.arg(merge).arg("-m").arg("-O").arg(&output).arg(&config).args(&fragments);
    make.wait_for(command, "merge_config.sh")?;
    make.run("olddefconfig")?;

    let configuration = Configuration::read(&config).map_err(CacheError::at(&config))?;
    if let Some(sentence) = sentence(&boot.unmet(&configuration)) {
        return Err(BuildError::Unbootable(sentence));
    }
    let mut unmet = guest.unmet(&configuration);
    unmet.extend(additions.iter().flat_map(|addition| addition.unmet(&configuration)));

    make.run(target.name)?;
    Ok(Built { kernel: Kernel::open(&output)?, output, unmet })
}

/// What make is asked for.
struct Target {
    name: &'static str,
    kind: Kind,
}

fn target(architecture: Architecture) -> Target {
    let (name, kind) = match architecture {
        Architecture::X86_64 | Architecture::I386 => ("bzImage", Kind::BzImage),
        Architecture::Arm64 | Architecture::Riscv64 => ("Image", Kind::Image),
        Architecture::S390x => ("bzImage", Kind::Image),
        Architecture::Ppc64le => ("vmlinux", Kind::Vmlinux),
    };
    Target { name, kind }
}

/// A name for a tree's output: its own, and a hash of its path, because trees tend to be called `linux`.
fn name_of(tree: &Path) -> String {
    let hash = twox_hash::XxHash3_128::oneshot(tree.as_os_str().as_bytes());
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    format!("{name}-{hash:032x}")
}

struct Make<'a> {
    tree: &'a Path,
    output: &'a Path,
    architecture: Architecture,
    /// Given on the command line, so that they hold in every directory and before what a Makefile says.
    variables: Vec<&'static str>,
    progress: Progress<'a>,
}

impl Make<'_> {
    fn run(&mut self, target: &str) -> Result<(), BuildError> {
        let mut command = Command::new("make");
        let mut output = OsString::from("O=");
        output.push(self.output);
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        command.arg(output).arg(format!("ARCH={}", self.architecture.kbuild_name()));
        command.arg(format!("-j{jobs}")).args(&self.variables).arg(target);
        // Whoever chose a compiler keeps it.
        let is_chosen = |variables: &[&str]| variables.iter().any(|name| std::env::var_os(name).is_some());
        let mut compiler = "";
        if let Some(prefix) = self.architecture.cross_compiler()
            && !is_chosen(&["CROSS_COMPILE", "LLVM"])
        {
            command.arg(format!("CROSS_COMPILE={prefix}"));
            compiler = prefix;
        }
        if in_path("ccache").is_some() && !is_chosen(&["CC", "LLVM", "CROSS_COMPILE"]) {
            command.arg(format!("CC=ccache {compiler}gcc"));
        }
        self.wait_for(command, &format!("make {target}"))
    }

    /// Runs a command in the tree and passes its lines on.
    fn wait_for(&mut self, mut command: Command, step: &str) -> Result<(), BuildError> {
        command.current_dir(self.tree).env("LC_ALL", "C");
        // make would take a jobserver of ours for its own.
        command.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        let program = command.get_program().to_string_lossy().into_owned();
        let is_reason = |line: &str| ["error:", "***", "not found"].iter().any(|sign| line.contains(sign));
        programs::run(command, is_reason, self.progress).map_err(|failure| match failure {
            Failure::NotStarted(source) => BuildError::NotStarted(program, source),
            Failure::Failed(why) => BuildError::Failed(step.to_owned(), self.tree.to_owned(), why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::samples::directory;

    /// A tree that goes through the motions: its `make` leaves what `bzImage` says, its merge concatenates.
    fn pretend_tree(bzimage: &str) -> tempfile::TempDir {
        let makefile = format!(
            "tinyconfig:\n\techo CONFIG_HZ=100 > $(O)/.config\nolddefconfig:\n\tsed -i /CONFIG_KCMP/d $(O)/.config\n\
             bzImage:\n\t{bzimage}\n"
        );
        let merge = "o=$3; base=$4; shift 4; cat \"$base\" \"$@\" > \"$o/new\"; mv \"$o/new\" \"$o/.config\"\n";
        let script = ("scripts/kconfig/merge_config.sh", merge.as_bytes());
        directory(&[("Kbuild", &b""[..]), ("Makefile", makefile.as_bytes()), script])
    }

    fn built(tree: &Path) -> (Result<Built, BuildError>, Vec<String>) {
        built_with(tree, &[])
    }

    fn built_with(tree: &Path, additions: &[Fragment]) -> (Result<Built, BuildError>, Vec<String>) {
        let cache = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        let mut progress = |line: &str| lines.push(line.to_owned());
        let result = build(tree, Architecture::X86_64, additions, &[], &Cache::at(cache.path()), &mut progress);
        (result, lines)
    }

    #[test]
    fn make_is_told_which_objects_are_counted() {
        let tree = pretend_tree("@echo 'fork.o: $(GCOV_PROFILE_fork.o)'");
        let counted = |additions: &[Fragment]| {
            let (_, lines) = built_with(tree.path(), additions);
            lines.iter().any(|line| line.trim() == "fork.o: y")
        };
        assert!(counted(&[Fragment::addition("coverage").unwrap()]));
        assert!(!counted(&[Fragment::addition("debug").unwrap()]));
    }

    #[test]
    fn options_that_do_not_take_are_reported_and_the_image_is_opened() {
        let tree = pretend_tree("mkdir -p $(O)/arch/x86/boot && cp Kbuild $(O)/arch/x86/boot/bzImage");
        std::fs::write(tree.path().join("Kbuild"), "text").unwrap();
        let (result, lines) = built(tree.path());
        // Everything went through; only the image is none.
        let is_text = matches!(&result, Err(BuildError::Kernel(error)) if error.to_string().contains("a text file"));
        assert!(is_text, "{result:?}");
        assert!(lines.iter().any(|line| line.contains("CONFIG_HZ=100")), "{lines:?}");
    }

    #[test]
    fn a_fragment_that_is_not_there_is_named() {
        let (tree, cache) = (pretend_tree("true"), tempfile::tempdir().unwrap());
        let missing = ["/nonexistent/x.config".into()];
        let cache = Cache::at(cache.path());
        let error = build(tree.path(), Architecture::X86_64, &[], &missing, &cache, &mut |_: &str| {}).unwrap_err();
        assert!(matches!(error, BuildError::NoFragment { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/x.config"), "{error}");
    }

    #[test]
    fn a_compilers_error_is_the_reason() {
        let tree = pretend_tree("@echo 'fs/x.c:1:2: error: expected declaration' && false");
        let error = built(tree.path()).0.unwrap_err().to_string();
        assert!(error.contains("bzImage` failed in") && error.contains("expected declaration"), "{error}");
    }

    #[test]
    fn what_is_no_tree_or_was_built_in_place_is_said() {
        let tree = pretend_tree("true");
        std::fs::write(tree.path().join(".config"), "").unwrap();
        assert!(matches!(built(tree.path()).0, Err(BuildError::ConfiguredInPlace(_))));
        assert!(matches!(built(Path::new("/nonexistent")).0, Err(BuildError::NotATree(_))));
    }

    #[test]
    fn trees_of_one_name_do_not_meet() {
        assert_ne!(name_of(Path::new("/a/linux")), name_of(Path::new("/b/linux")));
        assert!(name_of(Path::new("/a/my linux")).starts_with("mylinux-"));
    }
}
