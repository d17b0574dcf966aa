//! The commands of a history, by the marks that shells put into its output (`OSC 133`, `OSC 633`): heard again as a screen has heard
//! them ([`Marks`]).
//!
//! **Invariant.** Memory is one command.

use serde::Serialize;

use super::marks::Mark;
use crate::mirror::{Marks, Told};

/// A command that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its line; empty if the shell did not tell.
    pub line: String,
    /// Offset of the first byte that it put out.
    pub offset: u64,
    /// Offset behind its last byte; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// When it began, milliseconds since the Unix epoch.
    pub started: u64,
    /// Milliseconds it took; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Its exit code, if the shell told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Commands {
    marks: Marks,
    open: Option<Command>,
}

impl Commands {
    /// Takes in the next mark; the command that ends with it.
    pub fn take(&mut self, mark: &Mark) -> Option<Command> {
        let told = self.marks.hear(&mark.head)?;
        self.turn(told, mark.offset, mark.time_ns / 1_000_000)
    }

    /// The one that runs.
    pub fn finish(self) -> Option<Command> {
        self.open
    }

    fn turn(&mut self, told: Told, offset: u64, now_ms: u64) -> Option<Command> {
        match told {
            Told::CommandStarted { line } => {
                let line = line.unwrap_or_default();
                self.open = Some(Command { line, offset, end: None, started: now_ms, took_ms: None, code: None });
                None
            }
            Told::CommandFinished { code, .. } => {
                let command = self.open.take()?;
                let took_ms = Some(now_ms.saturating_sub(command.started));
                Some(Command { end: Some(offset), took_ms, code, ..command })
            }
            Told::Cwd(_) | Told::Notification(_) | Told::Progress(_) | Told::Clipboard { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::scanner::Scanner;

    fn found(pieces: &[(u64, &[u8])]) -> (Vec<Command>, Option<Command>) {
        let (mut commands, mut scanner) = (Commands::default(), Scanner::default());
        let (mut offset, mut ended) = (0, Vec::new());
        for (time_ms, data) in pieces {
            let marks = scanner.marks(offset, time_ms * 1_000_000, data);
            ended.extend(marks.iter().filter_map(|mark| commands.take(mark)));
            offset += data.len() as u64;
        }
        (ended, commands.finish())
    }

    const OUTPUT: &[u8] = b"\x1b]133;A\x07$ \x1b[1mls\x1b[m\x1b]633;E;ls\x1b\\\r\n\x1b]133;C\x07a b\r\n\x1b]133;D;2\x07\x1b]133;A\x07$ \x1b]133;C\x07";

    #[test]
    fn commands_have_their_offsets_times_and_codes() {
        let begins = OUTPUT.windows(3).position(|window| window == b"a b").unwrap();
        let (ended, open) = found(&[(1000, &OUTPUT[..begins]), (1700, &OUTPUT[begins..])]);
        assert_eq!(
            ended,
            [Command {
                line: "ls".into(),
                offset: begins as u64,
                end: Some(begins as u64 + 15),
                started: 1000,
                took_ms: Some(700),
                code: Some(2)
            }]
        );
        let open = open.unwrap();
        assert_eq!((open.line.as_str(), open.offset, open.started), ("", OUTPUT.len() as u64, 1700));
    }
}
