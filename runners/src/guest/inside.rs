//! Being the init of a guest: this very program, started by a kernel and nothing else.

use std::process::ExitCode;

use vm::initramfs::read_stripped;
use vm::parameters::Parameters;

use super::process::in_memory;
use crate::cli::args::parse_fault;
use crate::cli::exit::Failure;
use crate::prelude::*;
use crate::run::host::{Selected, run_items};
use crate::run::simulation;

/// What the suite in a guest understands: of `run`, all but what concerns places and files.
#[derive(Debug, Parser)]
#[command(name = "run")]
struct InGuestArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    how: HowArgs,
    #[arg(long, value_enum, default_value = "ktap")]
    format: Format,
    #[command(flatten)]
    strict: StrictArgs,
    /// What is expected, as the runner outside has put it into the image.
    #[arg(long)]
    expectations: Option<PathBuf>,
    #[arg(long)]
    disturb_host: bool,
    #[arg(long, value_parser = parse_fault)]
    fault: Option<&'static Fault>,
    #[cfg(feature = "guest-faults")]
    #[arg(long, value_enum)]
    guest_fault: Option<crate::guest_faults::GuestFault>,
}

/// Reads the arguments, `run` and its options, and chooses the cases.
fn prepare(parameters: &Parameters) -> Result<(InGuestArgs, Selected)> {
    // Only this one command: describing all of them takes an emulated guest as long as many cases.
    let mut args = InGuestArgs::try_parse_from(&parameters.arguments)?;
    args.how = args.how.settled();
    let tier = args.how.tier_in_guest();
    let selected = select_part(&args.selection, args.how.shard, tier, suite::cases::all())?;
    if parameters.plan.as_ref().is_some_and(|plan| *plan != fingerprint(&selected.items)) {
        return Err(anyhow!("{OTHER_BUILD}").into());
    }
    Ok((args, selected))
}

/// The sentence on an init whose cases are others than those of the program that booted it.
pub const OTHER_BUILD: &str =
    "the guest's init and the program that booted it are of different versions: build both from the same sources";

/// What two builds of this program share that tell of these cases by their place in the plan: the version, and the
/// names (FNV-1a of 32 bits). A guest's init compares it with what the runner has.
pub fn fingerprint(items: &[Item]) -> String {
    let names = items.iter().map(|item| item.name.as_str());
    let words = [env!("CARGO_PKG_VERSION")].into_iter().chain(names);
    let bytes = words.flat_map(|word| word.bytes().chain([0]));
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// Runs them: for the runner outside when it asks for events, else for whoever reads the guest's
/// console.
fn run(args: &InGuestArgs, selected: Selected, facts: Option<Facts>, results: File) -> Result<ExitStatus> {
    #[cfg(feature = "guest-faults")]
    let mut trigger = crate::guest_faults::Trigger::new(args.guest_fault, &results);
    let mut after = |_event: &Event| {
        #[cfg(feature = "guest-faults")]
        trigger.after(_event)?;
        Ok(())
    };
    let reports = Reports::to_channel(args.format, results);
    let for_runner = args.format == Format::Wire;
    let options = RunOptions {
        facts,
        own_kernel: true,
        heartbeat: for_runner,
        // A runner must know at once what is done and what is not: the guest may die.
        in_order: !for_runner,
        ..options(&args.how, args.disturb_host)
    };
    let options = simulation::under(args.fault, options)?;
    let expected = Expected::in_guest(args.expectations.as_deref(), for_runner)?;
    run_items(selected, options, &args.strict, &expected, reports, &mut after)
}

/// The guest's image: the program at `path` as `/init`, without symbols, and what is expected of the kernel.
pub fn initramfs(path: &Path, expected: &Expected) -> Result<OwnedFd> {
    let image = Initramfs::new(stripped(path)?);
    in_memory(&match expected.for_guest()? {
        Some(entries) => image.with_file(EXPECTATIONS, entries),
        None => image,
    })
}

/// The file of the image that has the entries of the user's, below its root.
pub const EXPECTATIONS: &str = "etc/expectations.json";

/// The program at `path`, without symbols.
pub fn stripped(path: &Path) -> Result<Vec<u8>> {
    Ok(read_stripped(path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// If this process is the init of a guest, does all that one does and never comes back.
pub fn run_if_init() -> Option<ExitCode> {
    if !vm::init::is_guest_init() {
        return None;
    }
    // Gathering the facts takes an emulated guest as long as reading its command line and choosing its cases.
    let scout = || harness::run::pool::facts_as_json(&suite::SUITE).unwrap_or_default();
    match vm::init::set_up(scout, prepare) {
        Ok((guest, scouted, prepared)) => {
            #[cfg(feature = "guest-faults")]
            crate::guest_faults::prepare(guest.arguments());
            vm::huge_text::move_to_huge_pages();
            guest.supervise(|guest| {
                // Facts that could not be gathered or read back are gathered by the run, which reports why it cannot.
                let facts = serde_json::from_slice(&scouted).ok();
                let results = guest.results().context("no results channel").map_err(Failure::from);
                let ended = results.and_then(|results| {
                    let (args, selected) = prepared?;
                    run(&args, selected, facts, results)
                });
                ended.unwrap_or_else(|failure| failure.report()).code()
            })
        }
        Err(error) => vm::init::give_up(&vm::chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_cases_have_another_fingerprint() {
        let case = |name| {
            let mut case = Case::declared_at("x.rs", 1);
            case.name = name;
            case
        };
        let of = |names: [&'static str; 2]| fingerprint(&harness::case::items(Box::leak(Box::new(names.map(case)))));
        assert_eq!(of(["a.b", "c"]), of(["a.b", "c"]));
        for other in [["a.c", "c"], ["a.bc", ""], ["a", "b.c"]] {
            assert_ne!(of(other), of(["a.b", "c"]), "{other:?}");
        }
    }
}
