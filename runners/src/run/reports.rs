//! Every report that was asked for, fed with the events of a run.

use harness::report::{Json, Junit, Kcidb, Ktap, Lava, Pretty, Reporter, Submission, Tap, Tap14, Verbosity, Wire};

use super::progress::ProgressLine;
use crate::prelude::*;

/// What standard output is called in errors.
const STANDARD_OUTPUT: &str = "standard output";

/// One report: its dialect, where it goes, and what that is called in errors.
struct Report {
    reporter: Box<dyn Reporter>,
    out: Box<dyn Write>,
    name: String,
}

/// Every report of a run.
pub struct Reports {
    reports: Vec<Report>,
    progress: ProgressLine,
}

impl Reports {
    /// Opens them.
    pub fn open(args: &ReportArgs) -> Result<Self> {
        Self::of_run(args, &args.submission(Some(SystemTime::now())))
    }

    /// Opens them for the kept results of a run that is over.
    pub fn of_old_run(args: &ReportArgs) -> Result<Self> {
        let reports = Self::of_run(args, &args.submission(None))?;
        Ok(Self { progress: ProgressLine::hidden(), ..reports })
    }

    fn of_run(args: &ReportArgs, submission: &Submission) -> Result<Self> {
        check_apart(&args.output)?;
        let usual = || if io::stdout().is_terminal() { Format::Pretty } else { Format::Tap };
        let format = args.format.unwrap_or_else(usual);
        let reporter = reporter(format, stdout::is_coloured(), args, submission);
        let mut reports = vec![Report { reporter, out: Box::new(io::stdout()), name: STANDARD_OUTPUT.to_owned() }];
        for (format, path) in &args.output {
            reports.push(to_file(*format, path, args, submission)?);
        }
        Ok(Self { reports, progress: ProgressLine::on_terminal() })
    }

    /// Opens reports that all go to files, without progress on a terminal.
    pub fn to_files(files: &[(Format, PathBuf)]) -> Result<Self> {
        let args = ReportArgs::default();
        let submission = args.submission(Some(SystemTime::now()));
        let reports = files.iter().map(|(format, path)| to_file(*format, path, &args, &submission));
        Ok(Self { reports: reports.collect::<Result<_>>()?, progress: ProgressLine::hidden() })
    }

    /// The one report of a run in a guest, to its results channel.
    pub fn to_channel(format: Format, results: File) -> Self {
        let args = ReportArgs::default();
        let reporter = reporter(format, false, &args, &args.submission(None));
        let report = Report { reporter, out: Box::new(results), name: "the results channel".to_owned() };
        Self { reports: vec![report], progress: ProgressLine::hidden() }
    }

    /// Whether somebody watches while cases run.
    pub fn are_watched(&self) -> bool {
        self.progress.is_seen()
    }

    /// Gives an event to every report. The error names the report that cannot be written.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.progress.clear();
        self.each(|reporter, out| reporter.event(event, out))?;
        self.progress.event(event);
        Ok(())
    }

    /// Ends every report.
    pub fn close(&mut self) -> io::Result<()> {
        self.progress.clear();
        self.each(|reporter, out| reporter.close(out))
    }

    fn each(&mut self, tell: impl Fn(&mut dyn Reporter, &mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        for Report { reporter, out, name } in &mut self.reports {
            tell(reporter.as_mut(), out).map_err(|error| {
                // Only on standard output does a broken pipe mean that the reader has gone.
                let kind = match name.as_str() {
                    STANDARD_OUTPUT => error.kind(),
                    _ => ErrorKind::Other,
                };
                io::Error::new(kind, format!("{name}: {error}"))
            })?;
        }
        Ok(())
    }
}

/// Whether each report has a file of its own: of two in one, the first is lost.
fn check_apart(outputs: &[(Format, PathBuf)]) -> Result<()> {
    let mut taken = BTreeSet::new();
    for (_, path) in outputs {
        // `a`, `./a` and a link to it are one file.
        let whole = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone());
        if !taken.insert(whole) {
            let why = format!("two --output go to {}: give each report a file of its own", path.display());
            return Err(Contradiction(why).into());
        }
    }
    Ok(())
}

fn to_file(format: Format, path: &Path, args: &ReportArgs, submission: &Submission) -> Result<Report> {
    let file = File::create(path).map_err(Unwritable::new("the report", path))?;
    let reporter = reporter(format, false, args, submission);
    Ok(Report { reporter, out: Box::new(BufWriter::new(file)), name: path.display().to_string() })
}

/// What writes this format.
pub fn reporter(format: Format, colour: bool, args: &ReportArgs, submission: &Submission) -> Box<dyn Reporter> {
    match format {
        Format::Pretty => {
            let verbosity = match (args.verbose, args.quiet) {
                (true, _) => Verbosity::Verbose,
                (_, true) => Verbosity::Quiet,
                _ => Verbosity::Normal,
            };
            let rerun = args.rerun.as_deref().unwrap_or("unshare-conformance");
            Box::new(Pretty::new(colour, verbosity, rerun.to_owned()))
        }
        Format::Tap => Box::new(Tap::default()),
        Format::Tap14 => Box::new(Tap14::default()),
        Format::Ktap => Box::new(Ktap::default()),
        Format::Junit => Box::new(Junit::new(suite::SUITE.name)),
        Format::Json => Box::new(Json::default()),
        Format::Kcidb => Box::new(Kcidb::new(submission.clone())),
        Format::Lava => Box::new(Lava::default()),
        Format::Wire => Box::new(Wire),
    }
}
