//! The command line's grammar: the one definition that parsing, `--help` and completions come from.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use kaval_actors::{Name, Size, log::journal::DataPath};
use signal_hook::low_level::signal_name;

use super::{search::Cursor, when::When};
use crate::{config::Listen, wire::Moment};

/// Keeps terminals alive: a shell, a build or an agent goes on when the window, the connection or kaval itself is gone.
///
/// Without a command, kaval attaches to the most recent terminal, or creates one, and starts a supervisor in the background if
/// none answers. Detach with Ctrl-\.
#[derive(Debug, Parser)]
#[command(name = "kaval", version, max_term_width = 100, subcommand_help_heading = "Commands", after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

const AFTER_HELP: &str = "\
Examples:
  kaval                              a terminal that survives; Ctrl-\\ detaches, kaval comes back
  kaval new build -- make -j8        a named terminal that runs a command
  kaval new -d agent -- ./agent      the same, without attaching
  kaval wait build --exit            until it has ended
  kaval screen agent                 what it shows now
  kaval view agent                   what it has shown, to scroll and search in
  kaval history agent --tail 100     its last 100 lines
  kaval search agent -i error        the lines of it that match, the newest first
  kaval export agent -o agent.html   all of it, as a web page

Exit codes: 0 done, 1 failed, 2 bad usage, 3 no such terminal, 5 no supervisor answers, 124 timed out.
kaval, new and attach end with 0 on detach, with the child's own code (128 + signal) when it ends
while attached, with 125 when kaval fails.";

/// Which supervisor.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The supervisor's socket [env: KAVAL_SOCKET]
    #[arg(long, value_name = "PATH", global = true)]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a terminal and attach to it, with a supervisor started if none answers
    New(New),
    /// Attach to a terminal; Ctrl-\ detaches, pressed twice it is sent on
    #[command(visible_alias = "a")]
    Attach(Attach),
    /// List the terminals
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Type text into a terminal
    Send(Send),
    /// Set a terminal's size
    Resize(Resize),
    /// Give a terminal another name
    Rename(Rename),
    /// List who is attached
    Clients(Clients),
    /// Detach the clients of a terminal, or one of them
    Detach(Detach),
    /// End a terminal's child as a closed window would, or send it a signal
    Kill(Kill),
    /// Forget an ended terminal
    Rm(Rm),
    /// Wait until a terminal has ended, is idle, or shows something
    Wait(Wait),
    /// Print what a terminal shows now
    Screen(Screen),
    /// Page through what a terminal has put out: scroll, search, jump to a time, copy
    View(View),
    /// Print what a terminal has put out
    History(History),
    /// Find the lines of terminals' histories that match a pattern, the newest first
    Search(Search),
    /// Write what a terminal has put out to a file: text, web page, PDF, recording or raw
    Export(Export),
    /// Print what happens, as it happens
    Events(Events),
    /// Print how the supervisor is
    Status(Status),
    /// Check what kaval needs, and say how to mend what is wrong
    Doctor(Doctor),
    /// Run the supervisor in the foreground
    Serve(Serve),
    /// Read the configuration again and make the terminals that it declares
    Reload(Reload),
    /// Replace the supervisor by a new version of it, terminals kept
    Upgrade(Upgrade),
    /// End every terminal and the supervisor
    Shutdown(Shutdown),
    /// The operator's levers: log level, hibernation, heap profile
    Admin(Admin),
    /// Note how systemd saw the supervisor end, for the next one: for ExecStopPost=
    #[command(hide = true)]
    NoteEnd(NoteEnd),
    /// Say as JSON which formats of what outlives a supervisor this program reads: for kaval upgrade
    #[command(hide = true)]
    Formats,
    /// Print shell completions
    Completions(Completions),
    /// Print the manual page, or write every page into a directory
    #[command(hide = true)]
    Man(Man),
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// Its name, of A-Z a-z 0-9 . _ - [default: made from the command]
    pub(super) name: Option<Name>,
    /// Do not attach; print its name
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Where it starts [default: the present directory]
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<PathBuf>,
    /// Give its environment a variable; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// Its size [default: the window's, else 80x24]
    #[arg(long, value_name = "COLSxROWS")]
    pub(super) size: Option<Size>,
    /// Start its child again when that has ended, or was lost with a reboot, in its last directory
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(super) restart: Restart,
    /// Use the terminal of that name if there is one
    #[arg(long, requires = "name")]
    pub(super) if_absent: bool,
    /// Keep its output off the disk: memory holds the newest of it, and nothing else does
    #[arg(long)]
    pub(super) no_log: bool,
    /// Print JSON (with --detach)
    #[arg(long, requires = "detach")]
    pub(super) json: bool,
    /// Program and arguments [default: your shell]
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<String>,
}

/// When a child is started again. A terminal that was told to end (kaval kill, kaval shutdown) never is.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Restart {
    /// Never
    #[default]
    Never,
    /// Unless it ended with exit code 0
    OnFailure,
    /// However it ended
    Always,
}

impl From<Restart> for kaval_actors::pty::Restart {
    fn from(restart: Restart) -> Self {
        match restart {
            Restart::Never => Self::Never,
            Restart::OnFailure => Self::OnFailure,
            Restart::Always => Self::Always,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = ATTACH_HELP)]
pub(super) struct Attach {
    /// Which terminal
    pub(super) name: String,
    /// Watch only
    #[arg(long)]
    pub(super) read_only: bool,
    /// First put the last LINES lines that have left the screen into this window's scrollback
    #[arg(long, value_name = "LINES")]
    pub(super) history: Option<u64>,
}

const ATTACH_HELP: &str = "\
Ctrl-\\ and then:
  nothing, for half a second   detach
  Ctrl-\\                       is sent on
  [                            look back through the history, as kaval view does; q comes back
  PgUp                         the same, a page up at once
The key is attach.detach_key of the configuration.";

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// By what to sort: the most first, but names
    #[arg(long, value_name = "BY", default_value = "age")]
    pub(super) sort: SortBy,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What terminals are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SortBy {
    /// The oldest first
    Age,
    /// Name
    Name,
    /// The processor time that their programs use lately
    Cpu,
    /// The memory that their programs take
    Memory,
    /// What was put out
    Output,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// Which terminal
    pub(super) name: String,
    /// Press Enter after it
    #[arg(long)]
    pub(super) enter: bool,
    /// The text: all that follows, its words joined by spaces [default: read from stdin]
    #[arg(allow_hyphen_values = true)]
    pub(super) text: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Resize {
    /// Which terminal
    pub(super) name: String,
    /// Its new size
    #[arg(value_name = "COLSxROWS")]
    pub(super) size: Size,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kaval rename bash-7 build")]
pub(super) struct Rename {
    /// Which terminal
    pub(super) name: String,
    /// Its new name, of A-Z a-z 0-9 . _ -
    pub(super) new: Name,
}

#[derive(Debug, Args)]
#[command(after_help = CLIENTS_HELP)]
pub(super) struct Clients {
    /// Which terminal [default: all]
    pub(super) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

const CLIENTS_HELP: &str = "\
MODE is rw, or ro for one that only watches. WAITING is what the client has yet to read of what was put
out for it, BEHIND what is yet to be put out; they stay near 0 for one that keeps up.

Example:
  kaval clients build";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kaval detach build        everybody\n  kaval detach build 12     the client that kaval clients numbers 12"
)]
pub(super) struct Detach {
    /// Which terminal
    pub(super) name: String,
    /// Which client, by its number in kaval clients [default: all]
    pub(super) client: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Which terminal
    pub(super) name: String,
    /// Send just this signal, by name or number
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(super) signal: Option<i32>,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Which terminals
    #[arg(required = true)]
    pub(super) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("until").required(true).args(["exit", "idle", "pattern"]))]
pub(super) struct Wait {
    /// Which terminal
    pub(super) name: String,
    /// Until its child has ended; prints how
    #[arg(long)]
    pub(super) exit: bool,
    /// Until it has put nothing out for so many milliseconds
    #[arg(long, value_name = "MS")]
    pub(super) idle: Option<u64>,
    /// Until this regular expression matches a line of its screen, or of what arrives
    #[arg(long = "match", value_name = "REGEX", id = "pattern")]
    pub(super) pattern: Option<String>,
    /// Give up after so many seconds, with exit code 124
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = VIEW_HELP)]
pub(super) struct View {
    /// Which terminal, running or ended
    pub(super) name: String,
}

const VIEW_HELP: &str = "\
Keys:
  j k, arrows, Enter   a line              space b, PgDn PgUp   a page
  Ctrl-D Ctrl-U        half a page         g G, Home End        the start, the end
  :123                 that line           t                    a time: \"10m ago\"
  / ?                  search down, up     n N                  the next, the one before
  ] [                  the next command, the one before, if its shell tells of them
  v                    select lines: then y copies (OSC 52), s saves them
  s                    save everything     F                    follow what comes
  f                    what full-screen programs showed, or not
  h                    help                q, Esc               quit

In kaval attach, Ctrl-\\ and then [ or PgUp opens the same over the terminal,
which goes on behind.

Example:
  kaval view build";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScreenFormat {
    /// Rows of text
    Text,
    /// Escape sequences that draw it
    Ansi,
    /// Cursor, lines and cells
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Screen {
    /// Which terminal
    pub(super) name: String,
    /// How
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: ScreenFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
    /// As it was then: an offset, or a time as in history --since
    #[arg(long, value_name = "OFFSET|TIME", value_parser = moment)]
    pub(super) at: Option<Moment>,
}

/// Digits are an offset; anything else is a time.
fn moment(text: &str) -> Result<Moment, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Moment::Offset).map_err(|_| format!("{text} is no offset: it is too large"));
    }
    text.parse().map(|When(ms)| Moment::Time(ms))
}

/// Lines by number: from the first to before the second, or to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineRange {
    pub(super) from: u64,
    pub(super) to: Option<u64>,
}

fn line_range(text: &str) -> Result<LineRange, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no line number"));
    let (from, to) =
        text.split_once("..").ok_or_else(|| format!("{text:?} is no range of lines: write 100..200, 100.. or ..200"))?;
    let from = if from.is_empty() { 0 } else { number(from)? };
    let to = if to.is_empty() { None } else { Some(number(to)?) };
    match to {
        Some(to) if to < from => Err(format!("line {from} is behind line {to}: nothing lies between them")),
        _ => Ok(LineRange { from, to }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum HistoryFormat {
    /// Lines of text, wrapped rows joined
    Text,
    /// The same with colours
    Ansi,
    /// The bytes as the child wrote them
    Raw,
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// Which terminal
    pub(super) name: String,
    /// How
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: HistoryFormat,
    #[command(flatten)]
    pub(super) range: Range,
    /// These lines, counted from 0 at the terminal's creation: 100..200 is from 100 to before 200; also 100.. and ..200
    #[arg(long, value_name = "A..B", value_parser = line_range, conflicts_with_all = ["from", "to", "tail", "since", "until", "commands"])]
    pub(super) lines: Option<LineRange>,
    /// With --lines: show full-screen programs, too, by what stood on the screen when they went
    #[arg(long, requires = "lines")]
    pub(super) frames: bool,
    /// List the commands that its shell told of (see config/shell/), not the output
    #[arg(long, conflicts_with = "format")]
    pub(super) commands: bool,
    /// Print each line, or each command, as a JSON object with its offset
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
}

/// A part of a history.
#[derive(Debug, Clone, Args)]
pub(super) struct Range {
    /// Only the last N lines: what stands on the screen included, or with --to of those that left it before
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(super) tail: Option<u64>,
    /// From this offset: of lines, those that left the screen from there on
    #[arg(long, value_name = "OFFSET")]
    pub(super) from: Option<u64>,
    /// To before this offset: of lines, those that left the screen before
    #[arg(long, value_name = "OFFSET")]
    pub(super) to: Option<u64>,
    /// What came at this time or later: 2026-11-23T14:30:00Z, "2026-11-23 14:30", 14:30, "10m ago"
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "tail"])]
    pub(super) since: Option<When>,
    /// What came before this time
    #[arg(long, value_name = "TIME", conflicts_with = "to")]
    pub(super) until: Option<When>,
}

impl Range {
    /// The offset at which it begins, if that can be told from it alone.
    pub(super) fn start(&self) -> Option<u64> {
        if self.tail.is_some() { None } else { Some(self.from.unwrap_or(0)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// Lines of text, wrapped rows joined: .txt, .log
    Txt,
    /// The same with colours, as escape sequences: .ansi, .ans
    Ansi,
    /// One web page, light or dark as the reader's system is: .html, .htm
    Html,
    /// Pages of text with colours: .pdf
    Pdf,
    /// A recording for asciinema and its like, at its true times: .cast
    Cast,
    /// The bytes as the child wrote them: .raw, .bin
    Raw,
}

impl ExportFormat {
    /// By what a file's name ends in.
    pub(super) fn of_ending(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "txt" | "log" => Some(Self::Txt),
            "ansi" | "ans" => Some(Self::Ansi),
            "html" | "htm" => Some(Self::Html),
            "pdf" => Some(Self::Pdf),
            "cast" => Some(Self::Cast),
            "raw" | "bin" => Some(Self::Raw),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = SEARCH_HELP, override_usage = "kaval search [OPTIONS] NAME PATTERN\n       kaval search [OPTIONS] --all PATTERN")]
pub(super) struct Search {
    /// Which terminal; not with --all
    #[arg(value_name = "NAME")]
    pub(super) first: String,
    /// A regular expression, in the syntax of Rust's regex crate
    #[arg(value_name = "PATTERN")]
    pub(super) second: Option<String>,
    /// Every terminal, ended ones too, the newest first
    #[arg(long)]
    pub(super) all: bool,
    /// PATTERN is a text as it stands
    #[arg(short = 'F', long)]
    pub(super) literal: bool,
    /// Upper and lower case are the same
    #[arg(short, long)]
    pub(super) ignore_case: bool,
    /// Find so many lines at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// Take so long at most, as in 500ms or 2s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) budget: Option<Duration>,
    /// Go on where a search ended that --limit or --budget cut short
    #[arg(long, value_name = "CURSOR")]
    pub(super) resume: Option<Cursor>,
    /// Print JSON: one object a line
    #[arg(long)]
    pub(super) json: bool,
}

const SEARCH_HELP: &str = "\
Lines are those that kaval history prints: wrapped rows joined, without colours, and at the end what stands on
the screen. Full-screen programs are not searched. Each line that matches is printed as NAME:NUMBER TIME LINE;
kaval history NAME --lines A..B prints what is about it. With --json each is an object: name, number, offset, time
(milliseconds since 1970), line, and spans, the characters from and to of each match.

A search that is cut short prints the cursor to go on with: to stderr, or as {\"resume\": CURSOR} with --json.

Exit codes: 0 found, 1 nothing found or failed, 2 bad usage, 3 no such terminal, 5 no supervisor answers.

Examples:
  kaval search build 'error(\\[E[0-9]+\\])?:'
  kaval search build -iF 'connection refused' --limit 20
  kaval search --all TODO --json | jq -r .line
  kaval search -- agent -v";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_HELP)]
pub(super) struct Export {
    /// Which terminal
    pub(super) name: String,
    /// As what [default: by how FILE ends]
    #[arg(long, value_enum)]
    pub(super) format: Option<ExportFormat>,
    /// Where to; one that is there is replaced, once the export is whole. - is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Of asciicast, for recordings [default: 3]
    #[arg(long, value_name = "2|3", value_parser = clap::value_parser!(u8).range(2..=3))]
    pub(super) cast_version: Option<u8>,
    #[command(flatten)]
    pub(super) range: Range,
}

const EXPORT_HELP: &str = "\
An export that fails or is interrupted leaves nothing behind, and FILE as it was. It goes on over restarts of the
supervisor, and takes the same memory however long the history is. Full-screen programs are in recordings and raw
output; of them lines have what stands on the screen when they have ended.

A PDF holds up to 1,000,000 pages or 10 GB; an export that comes to more is refused. Its pages are as wide as the
terminal is, A4 at least; longer lines go on in the next row, marked in the margin. What its font (DejaVu Sans Mono)
has no glyph for, such as Chinese, Japanese, Korean and emoji, is a box that can be selected as the text it is.

Examples:
  kaval export build -o build.html
  kaval export build --tail 1000 -o build.pdf
  kaval export agent -o agent.cast && asciinema play agent.cast
  kaval export agent --format ansi -o - | less -R";

#[derive(Debug, Args)]
pub(super) struct Events {
    /// To which terminal [default: all of them, and the supervisor]
    pub(super) name: Option<String>,
    /// From this number on, as far as it is kept [default: from now on]
    #[arg(long, value_name = "SEQ")]
    pub(super) from: Option<u64>,
    /// Print JSON: one object a line, as always
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub(super) struct Doctor {
    /// The configuration [default: ~/.config/kaval/kaval.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where the supervisor keeps its state [default: ~/.local/state/kaval]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

const DOCTOR_HELP: &str = "\
A line a check: ok, warn or fail, what was found, and how to mend it. Nothing is changed, and no supervisor has to
run. Exit code 1 if something fails, else 0.";

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration [default: ~/.config/kaval/kaval.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where it keeps its state [default: ~/.local/state/kaval]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Where metrics are served over HTTP, or off [default: 127.0.0.1:9776]
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<Listen>,
    /// Run without the parent process that keeps terminals when the supervisor dies
    #[arg(long)]
    pub(super) no_keeper: bool,
    /// How output reaches the journal: copying loses bytes when killed, and is for kernels that cannot splice
    #[arg(long, value_parser = data_path, default_value = "splice", hide = true)]
    pub(super) data_path: DataPath,
}

#[derive(Debug, Args)]
pub(super) struct Shutdown {
    /// Do not ask when terminals are live
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = RELOAD_HELP)]
pub(super) struct Reload {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

const RELOAD_HELP: &str = "\
Terminals that are there, running or ended, are left as they are, whatever their entries say now. A file that is
wrong changes nothing.

Example, in kaval.toml:
  [[term]]
  name = \"build\"
  command = [\"make\", \"watch\"]
  cwd = \"~/src/project\"
and then:
  kaval reload";

#[derive(Debug, Args)]
#[command(after_help = UPGRADE_HELP)]
pub(super) struct Upgrade {
    /// The program to start [default: what the supervisor was started from, as it now is]
    #[arg(long, value_name = "PATH")]
    pub(super) binary: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

const UPGRADE_HELP: &str = "\
Programs run on, and attached clients go on where they were. A program that cannot read what the present
one keeps is refused. One that does not come up within a minute is replaced by the present one, and kaval
status says why; under systemd, which starts what the unit says, that is not so, and there is no --binary.

Examples:
  cargo install --path . && kaval upgrade
  kaval upgrade --binary ./target/release/kaval";

#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    pub(super) lever: Lever,
}

#[derive(Debug, Subcommand)]
pub(super) enum Lever {
    /// Set how much the supervisor logs, until it is restarted
    #[command(after_help = LOG_LEVEL_HELP)]
    LogLevel {
        /// off, error, warn, info, debug or trace, for all or for parts
        level: String,
    },
    /// Drop the screens of idle terminals from memory; they are rebuilt when something needs them
    #[command(after_help = "Examples:\n  kaval admin hibernate build\n  kaval admin hibernate --all")]
    #[command(group = ArgGroup::new("which").required(true).args(["name", "all"]))]
    Hibernate {
        /// Which terminal
        name: Option<String>,
        /// Every live terminal; prints how many
        #[arg(long)]
        all: bool,
    },
    /// Write a profile of the supervisor's heap, in pprof's format
    #[command(after_help = HEAP_PROFILE_HELP)]
    HeapProfile {
        /// Where to
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

const HEAP_PROFILE_HELP: &str = "\
The heap is sampled, once in 512 KiB, unless the supervisor runs with _RJEM_MALLOC_CONF=prof:false.

Example:
  kaval admin heap-profile -o heap.pb.gz
  go tool pprof -http : $(which kaval) heap.pb.gz";

const LOG_LEVEL_HELP: &str = "\
A restart of the supervisor goes back to KAVAL_LOG, or info.

Examples:
  kaval admin log-level debug
  kaval admin log-level info,kaval::socket=trace";

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of kaval and all its commands there
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct NoteEnd {
    /// Where the supervisor keeps its state [default: ~/.local/state/kaval]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|_| "write 500ms, 2s or 1min".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give it as KEY=VALUE".to_owned()),
    }
}

fn data_path(text: &str) -> Result<DataPath, String> {
    match text {
        "splice" => Ok(DataPath::Splice),
        "copy" => Ok(DataPath::Copy),
        _ => Err("splice or copy".to_owned()),
    }
}

/// A signal by number, or by name with or without its SIG.
fn signal(text: &str) -> Result<i32, String> {
    const NUMBERS: RangeInclusive<i32> = 1..=31;
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let named = |number: &i32| signal_name(*number).and_then(|known| known.strip_prefix("SIG")) == Some(name);
    let by_number = text.parse().ok().filter(|number| NUMBERS.contains(number));
    by_number.or_else(|| NUMBERS.into_iter().find(named)).ok_or_else(|| {
        let names: Vec<_> = NUMBERS.filter_map(signal_name).collect();
        format!("no such signal; use a number from 1 to 31 or one of {}", names.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        assert_eq!((signal("TERM"), signal("sigint"), signal("9")), (Ok(15), Ok(2), Ok(9)));
        assert!(signal("0").is_err() && signal("32").is_err() && signal("NOPE").is_err());
    }
}
