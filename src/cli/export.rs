//! `kaval export`: what a terminal has put out, as a file.
//!
//! ```text
//!   history::read ─► Item ─► Exporter ─► Target
//!                 └► offset reached ─► bar on stderr, if that is a terminal
//! ```
//!
//! **Invariant.** Whatever ends it (an error, a signal, a supervisor that does not come back), what stood under the file's name stands
//! there still.

use std::{
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Failure, Sockets, args,
    args::ExportFormat,
    chain,
    history::{self, Asked, Sink},
};
use crate::{
    export::{About, CastVersion, ExportError, Exporter, Format, Item, Target, exporter},
    wire::{HistoryFormat, HistoryOk},
};

/// How often the bar is drawn anew.
const DRAWS_PER_SECOND: u8 = 10;
const BAR: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left ";
/// What a page is wide for if its terminal is not known.
const COLS: u16 = 80;

pub(super) async fn export(sockets: &Sockets, args: &args::Export) -> Result<ExitCode, Failure> {
    let chosen = format_of(args)?;
    let (format, source, timed) = match chosen {
        ExportFormat::Txt => (Format::Plain, HistoryFormat::Text, false),
        ExportFormat::Ansi => (Format::Plain, HistoryFormat::Ansi, false),
        ExportFormat::Raw => (Format::Plain, HistoryFormat::Raw, false),
        ExportFormat::Html => (Format::Html, HistoryFormat::Ansi, false),
        ExportFormat::Pdf => (Format::Pdf, HistoryFormat::Ansi, false),
        ExportFormat::Cast => (Format::Cast(cast_version(args)), HistoryFormat::Raw, true),
    };
    let cols = if chosen == ExportFormat::Pdf { width(sockets, &args.name).await? } else { COLS };
    let about = About { title: args.name.clone(), cols };
    let exporter = exporter(format, &about).map_err(|error| Failure::new(Failure::FAILED, chain(&error)))?;
    // Heeded before there is anything to be removed.
    let leaves_a_file = !is_stdout(&args.output) && Target::is_file_at(&args.output);
    let signals = if leaves_a_file { Some(Signals::new()?) } else { None };
    let target = target(&args.output)?;
    let mut writing = Writing { exporter, target, args, bar: bar(args), began: None, until: 0 };
    let asked = Asked { name: &args.name, range: &args.range, format: source, timed };
    let work = async {
        writing.open()?;
        history::read(sockets, &asked, &mut writing).await
    };
    let result = tokio::select! {
        biased;
        number = interrupted(signals) => Err(Failure::new(signal_code(number), format!("interrupted: {:?} is left as it was", args.output))),
        result = work => result,
    };
    writing.bar.finish_and_clear();
    result?;
    writing.close()?;
    Ok(ExitCode::SUCCESS)
}

fn format_of(args: &args::Export) -> Result<ExportFormat, Failure> {
    let usage = |message: &str| Failure::new(Failure::USAGE, message);
    let format = args.format.or_else(|| ExportFormat::of_ending(&args.output)).ok_or_else(|| {
        let which = if is_stdout(&args.output) {
            "stdout has no ending".to_owned()
        } else {
            format!("{:?} ends in none of them", args.output)
        };
        usage(&format!("which format? {which}: say --format txt, ansi, html, pdf, cast or raw"))
    })?;
    if args.cast_version.is_some() && format != ExportFormat::Cast {
        return Err(usage("--cast-version is for --format cast"));
    }
    Ok(format)
}

fn cast_version(args: &args::Export) -> CastVersion {
    match args.cast_version {
        Some(2) => CastVersion::V2,
        Some(_) | None => CastVersion::V3,
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn target(path: &Path) -> Result<Target, Failure> {
    if is_stdout(path) {
        return Ok(Target::stdout());
    }
    Target::create(path).map_err(|error| Failure::new(Failure::FAILED, chain(&error)))
}

/// How wide the terminal is; one that there is none of is told of later.
async fn width(sockets: &Sockets, name: &str) -> Result<u16, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let terms = client.list().await?;
    Ok(terms.iter().find(|term| term.name == name).map_or(COLS, |term| term.size.cols()))
}

/// Not drawn where stderr is no terminal, or stdout is the one that shows the export itself.
fn bar(args: &args::Export) -> ProgressBar {
    if is_stdout(&args.output) && io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
    ProgressBar::with_draw_target(Some(0), target).with_style(style.progress_chars("=> ")).with_message(args.name.clone())
}

/// An export under way.
struct Writing<'a> {
    exporter: Box<dyn Exporter>,
    target: Target,
    args: &'a args::Export,
    bar: ProgressBar,
    /// The offset that the bar counts from; of the last lines it is known once the first of them come.
    began: Option<u64>,
    /// The one that it counts to.
    until: u64,
}

impl Writing<'_> {
    fn open(&mut self) -> Result<(), Failure> {
        self.exporter.begin(&mut self.target).map_err(|error| failure(&self.target, error))
    }

    fn close(mut self) -> Result<(), Failure> {
        self.exporter.finish(&mut self.target).map_err(|error| failure(&self.target, error))?;
        let name = self.target.name();
        self.target.finish().map_err(|error| unwritten(&name, &error))
    }
}

impl Sink for Writing<'_> {
    fn begin(&mut self, there: HistoryOk) -> Result<(), Failure> {
        if there.floor == there.end && there.end > 0 {
            let message = format!("{}: nothing of its {} bytes of output is kept", self.args.name, there.end);
            return Err(Failure::new(Failure::FAILED, message));
        }
        let range = &self.args.range;
        self.began = self.began.or(range.start().map(|start| start.max(there.floor)));
        self.until = range.to.unwrap_or(there.end).min(there.end);
        Ok(())
    }

    fn take(&mut self, item: Item<'_>, reached: u64) -> Result<(), Failure> {
        let began = *self.began.get_or_insert(reached);
        self.bar.set_length(self.until.saturating_sub(began));
        self.bar.set_position(reached.saturating_sub(began));
        self.exporter.take(item, &mut self.target).map_err(|error| failure(&self.target, error))
    }
}

fn failure(target: &Target, error: ExportError) -> Failure {
    match error {
        ExportError::Write(error) => unwritten(&target.name(), &error),
        ExportError::TooLong { .. } | ExportError::Font(_) => Failure::new(Failure::FAILED, error.to_string()),
    }
}

/// A reader that has gone away (`| head`) ends the program as it ends others: quietly.
fn unwritten(name: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(128 + libc::SIGPIPE);
    }
    Failure::new(Failure::FAILED, format!("{name} could not be written: {error}"))
}

/// What ends a program that does not say otherwise, and would leave its file behind.
struct Signals([(i32, Signal); 3]);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let of = |kind: SignalKind| Ok::<_, io::Error>((kind.as_raw_value(), signal(kind)?));
        Ok(Self([of(SignalKind::interrupt())?, of(SignalKind::terminate())?, of(SignalKind::hangup())?]))
    }
}

/// The signal that came; where none is waited for, it ends the program at once.
async fn interrupted(signals: Option<Signals>) -> i32 {
    let Some(Signals([(int, mut on_int), (term, mut on_term), (hup, mut on_hup)])) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = on_int.recv() => int,
        _ = on_term.recv() => term,
        _ = on_hup.recv() => hup,
    }
}

fn signal_code(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(Failure::FAILED)
}
