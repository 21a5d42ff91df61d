//! From an event to every report that was asked for.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::Context;
use harness::event::Event;
use harness::report::{Json, Ktap, Pretty, Reporter, Tap, Verbosity, Wire};

use crate::cli::{Format, RunArgs, default_format};
use crate::progress::ProgressLine;

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
    ///
    /// # Errors
    /// A file cannot be created.
    pub fn open(args: &RunArgs) -> anyhow::Result<Self> {
        let format = args.format.unwrap_or_else(default_format);
        let verbosity = if args.verbose {
            Verbosity::Verbose
        } else if args.quiet {
            Verbosity::Quiet
        } else {
            Verbosity::Normal
        };
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
            && io::stdout().is_terminal();
        let mut reports = vec![Report {
            reporter: reporter(format, colour, verbosity),
            out: Box::new(io::stdout()),
            name: "standard output".to_owned(),
        }];
        for (format, path) in &args.output {
            let file = File::create(path)
                .with_context(|| format!("cannot create the report {}", path.display()))?;
            reports.push(Report {
                reporter: reporter(*format, false, verbosity),
                out: Box::new(BufWriter::new(file)),
                name: path.display().to_string(),
            });
        }
        Ok(Self {
            reports,
            progress: ProgressLine::new(),
        })
    }

    /// The one report of a run in a guest, to its results channel.
    pub fn over_the_wire(results: File) -> Self {
        Self {
            reports: vec![Report {
                reporter: Box::new(Wire),
                out: Box::new(results),
                name: "the results channel".to_owned(),
            }],
            progress: ProgressLine::new(),
        }
    }

    /// Tells every report of an event.
    ///
    /// # Errors
    /// One of them cannot be written; the error names it.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.progress.clear();
        for Report {
            reporter,
            out,
            name,
        } in &mut self.reports
        {
            reporter
                .event(event, out)
                .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        }
        self.progress.event(event);
        Ok(())
    }
}

fn reporter(format: Format, colour: bool, verbosity: Verbosity) -> Box<dyn Reporter> {
    match format {
        Format::Pretty => Box::new(Pretty::new(colour, verbosity)),
        Format::Tap => Box::new(Tap::default()),
        Format::Ktap => Box::new(Ktap::default()),
        Format::Json => Box::new(Json::default()),
    }
}
