//! Runs the same cases on many kernels, several guests at a time, and shows one table.
//!
//! | module | answers |
//! |---|---|
//! | [`row`] | the results of one kernel, gathered from its events |
//! | [`table`] | all of them side by side: for people, as Markdown, as JSON |
//! | [`html`] | the same as one page for a browser, requirement by requirement |
//! | [`flag_space`] | a picture of the sets of flags that disagree with the model |

pub mod flag_space;
pub mod html;
pub mod row;
pub mod table;

use crate::guest::{Boot, signals};
use crate::prelude::*;
use crate::run::progress::{ProgressLine, style};
use row::Row;
use table::Table;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance matrix --kernel 5.10 --kernel 6.1 --kernel 7.3
  unshare-conformance matrix --kernel old/bzImage --kernel new/bzImage --reports results
  unshare-conformance matrix --kernel 6.1 --kernel uml-6.1 --format markdown storm. >> summary.md
  unshare-conformance matrix --kernel 5.10 --kernel 7.3 --format html > kernels.html

Exit status: the worst of all kernels: 1 (does not conform) is worse than 129 (not a kernel), which is
worse than 125 (inconclusive).";

/// The arguments of `matrix`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MatrixArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Run this many guests in parallel [default: one per CPU of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Guest")]
    guests: Option<u32>,
    /// Directory for the reports of each kernel (TAP, JSON, console) and the table (JSON, Markdown, HTML)
    #[arg(long, value_name = "DIRECTORY")]
    reports: Option<PathBuf>,
    /// Format of the table on standard output
    #[arg(long, value_enum, default_value = "pretty")]
    format: TableFormat,
    #[command(flatten)]
    strict: StrictArgs,
    #[command(flatten)]
    expected: ExpectationArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableFormat {
    /// Human-readable
    Pretty,
    /// One JSON object, with every failure
    Json,
    /// A table for summaries and issues
    Markdown,
    /// One page for a browser: requirements × kernels, with every failure in full detail
    Html,
}

/// Boots every kernel, follows all of them to their ends, and writes the table.
pub fn run(args: MatrixArgs) -> Result<ExitStatus> {
    check(&args)?;
    let items = select_part(&args.selection, args.how.shard, args.how.tier_in_guest(), suite::cases::all())?.items;
    if let Some(directory) = &args.reports {
        std::fs::create_dir_all(directory).map_err(Unwritable::new("the directory", directory))?;
    }
    let format = args.format;
    let expected = Expected::read(&args.expected, suite::cases::all())?;
    let guests = Guests::new(args, expected);
    // Before any thread: a signal that ends this process must end every guest first.
    signals::begin()?;
    let rows = guests.run(&items);
    let table = Table::new(&guests.args.how, rows);
    if let Some(directory) = &guests.reports {
        for (name, text) in
            [("matrix.json", table.json()), ("matrix.md", table.markdown()), ("matrix.html", table.html())]
        {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(Unwritable::new("the file", &path))?;
        }
    }
    stdout::print(match format {
        TableFormat::Pretty => table.pretty(stdout::is_coloured()),
        TableFormat::Json => table.json(),
        TableFormat::Markdown => table.markdown(),
        TableFormat::Html => table.html(),
    })?;
    Ok(match signals::received() {
        Some(signal) => ExitStatus::Interrupted { signal },
        None => table.exit_status(),
    })
}

fn check(args: &MatrixArgs) -> Result<()> {
    let why = if args.guest.kernel.is_empty() {
        "a matrix requires kernels: give --kernel PATH|RELEASE, once per kernel"
    } else if args.guest.on == Some(Place::Host) {
        "a matrix boots guests and --on host does not: leave it out"
    } else if args.guest.console.is_some() {
        "--console names one file for several guests: use --reports DIRECTORY, which keeps every console"
    } else {
        return Ok(());
    };
    Err(Contradiction(why.to_owned()).into())
}

/// One kernel of the matrix: what the user calls it, and what its files are called.
struct Entrant {
    name: String,
    file_name: String,
}

struct Guests {
    /// As for a single run, but that the kernel is another one for each guest.
    args: RunArgs,
    entrants: Vec<Entrant>,
    at_once: usize,
    reports: Option<PathBuf>,
    expected: Expected,
    /// Opening a kernel may unpack it and try out KVM, once for all.
    preparing: Mutex<()>,
    remarks: Mutex<BTreeSet<String>>,
    lines: MultiProgress,
}

impl Guests {
    fn new(args: MatrixArgs, expected: Expected) -> Self {
        let entrants = entrants(&args.guest.kernel);
        Self {
            at_once: args.guests.unwrap_or_else(cpus) as usize,
            reports: args.reports,
            expected,
            entrants,
            args: RunArgs {
                selection: args.selection,
                guest: args.guest,
                how: args.how.settled(),
                strict: args.strict,
                ..RunArgs::parse_from([""])
            },
            preparing: Mutex::new(()),
            remarks: Mutex::new(BTreeSet::new()),
            lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
        }
    }

    /// What came of each kernel, in the order they were given.
    fn run(&self, items: &[Item]) -> Vec<Row> {
        let overall = self.lines.add(ProgressBar::new(self.entrants.len() as u64));
        overall.set_style(style("{pos} of {len} kernels, {elapsed}"));
        let (queue, rows) = (Mutex::new(self.entrants.iter().enumerate()), Mutex::new(BTreeMap::new()));
        let next = || locked(&queue).next();
        let work = || {
            while let Some((index, entrant)) = next() {
                let row = self.row(entrant, items);
                locked(&rows).insert(index, row);
                overall.inc(1);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.at_once.min(self.entrants.len()) {
                scope.spawn(work);
            }
        });
        overall.finish_and_clear();
        rows.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }

    fn row(&self, entrant: &Entrant, items: &[Item]) -> Row {
        let mut row = Row::new(&entrant.name);
        let start = Instant::now();
        match signals::received() {
            Some(signal) => row.status = Some(ExitStatus::Interrupted { signal }),
            None => match self.boot(entrant, items, &mut row) {
                Ok(status) => row.status = Some(status),
                Err(failure) => {
                    row.status = Some(failure.status);
                    row.why = Some(failure.to_string());
                }
            },
        }
        row.elapsed = start.elapsed();
        row
    }

    fn boot(&self, entrant: &Entrant, items: &[Item], row: &mut Row) -> Result<ExitStatus> {
        let width = self.entrants.iter().map(|entrant| entrant.name.chars().count()).max().unwrap_or_default();
        let mut line = ProgressLine::among(&self.lines, format!("{:width$}", entrant.name));
        let file = |ending: &str| format!("{}.{ending}", entrant.file_name);
        let guest = GuestArgs {
            console: self.reports.as_ref().map(|directory| directory.join(file("console"))),
            ..self.args.guest.clone()
        };
        let boot = {
            let _one = locked(&self.preparing);
            Boot::prepare(&guest, &entrant.name, &self.expected)?
        };
        boot.remarks.iter().for_each(|remark| self.say_once(remark));
        row.booted(&boot);
        let kinds = [(Format::Tap, "tap"), (Format::Json, "json")];
        let files_in = |directory: &PathBuf| kinds.map(|(format, ending)| (format, directory.join(file(ending))));
        let files: Vec<_> = self.reports.iter().flat_map(files_in).collect();
        let mut reports = Reports::to_files(&files)?;
        row.reports = files.into_iter().map(|(_, path)| path).collect();
        let status = boot.run(items, &self.args, &self.expected, &mut |event| {
            row.event(event);
            line.event(event);
            reports.event(event)
        })?;
        reports.close()?;
        Ok(status)
    }

    /// Prints a remark that may hold for several guests.
    fn say_once(&self, remark: &str) {
        if locked(&self.remarks).insert(remark.to_owned()) {
            self.lines.suspend(|| eprintln!("unshare-conformance: {remark}"));
        }
    }
}

/// Each kernel with a unique name for its files.
fn entrants(kernels: &[String]) -> Vec<Entrant> {
    let mut taken = BTreeSet::new();
    let entrant = |name: &String| {
        let plain = plain(name);
        let numbered = (2..).map(|count| format!("{plain}-{count}"));
        let mut candidates = std::iter::once(plain.clone()).chain(numbered);
        let file_name = candidates.find(|candidate| taken.insert(candidate.clone()));
        Entrant { name: name.clone(), file_name: file_name.expect("there is always a next number") }
    };
    kernels.iter().map(entrant).collect()
}

/// A kernel's name, as part of a file name.
fn plain(name: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let plain: String = name.chars().map(|c| if usual(c) { c } else { '_' }).collect();
    match plain.trim_start_matches(['.', '_', '-']) {
        "" => "kernel".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_kernels_do_not_meet() {
        let names = ["6.1", "a/b", "a_b", "6.1", "../..", "/", "-"];
        let entrants = entrants(&names.map(str::to_owned));
        let files: Vec<_> = entrants.into_iter().map(|entrant| entrant.file_name).collect();
        assert_eq!(files, ["6.1", "a_b", "a_b-2", "6.1-2", "kernel", "kernel-2", "kernel-3"]);
    }
}
