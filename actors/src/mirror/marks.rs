//! What a program tells of itself beside drawing, by operating system commands: where it is, what it runs, how far it got. Pure.
//!
//! ```text
//!   OSC 7, 633;P, 9;9      ─► working directory        OSC 133, 633   ─► command lines, their beginnings and ends
//!   OSC 9, 99, 777         ─► notification             OSC 9;4        ─► progress
//!   OSC 52                 ─► clipboard: told of, never answered
//! ```
//!
//! **Invariants.** A function of the output alone, so that it is part of a checkpoint and a rebuilt screen knows the same. Every text is at
//! most [`TEXT_BYTES_MAX`] long and has no control characters. What is not understood is nothing.

use serde::{Deserialize, Serialize};

/// Most bytes of a directory, a command line or a notification that are kept.
pub(super) const TEXT_BYTES_MAX: usize = 4096;

/// What is known of a terminal's programs.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The working directory that its shell told last.
    pub cwd: Option<String>,
    /// How far what it runs has got.
    pub progress: Option<Progress>,
    /// The notification that came last.
    pub notification: Option<Notification>,
    /// The command line read last.
    line: Option<String>,
    /// A command runs.
    running: bool,
}

/// How far something has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How it stands.
    pub state: ProgressState,
    /// Of a hundred.
    pub percent: u8,
}

/// How something that takes long stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgressState {
    /// It goes on.
    Normal,
    /// It failed.
    Error,
    /// It goes on, nobody knows how long.
    Indeterminate,
    /// It is held.
    Paused,
}

/// What a program wants somebody to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its title; empty if it has none.
    pub title: String,
    /// Its text.
    pub body: String,
}

/// Something that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The working directory is another.
    Cwd(String),
    /// A notification.
    Notification(Notification),
    /// Progress is another, or over.
    Progress(Option<Progress>),
    /// Something was put into the clipboard.
    Clipboard {
        /// Which, by OSC 52's letters: `c` is the clipboard, `p` the primary selection.
        selection: String,
        /// How much, in base64.
        bytes: usize,
    },
    /// A command begins.
    CommandStarted {
        /// Its line, if the shell told.
        line: Option<String>,
    },
    /// A command has ended.
    CommandFinished {
        /// Its line, if the shell told.
        line: Option<String>,
        /// How, if the shell told.
        code: Option<i32>,
    },
}

impl Marks {
    /// The command that runs: its line, empty if the shell did not tell.
    pub fn running(&self) -> Option<&str> {
        self.running.then(|| self.line.as_deref().unwrap_or_default())
    }

    /// Bytes of all texts in it.
    pub(crate) fn text_bytes(&self) -> usize {
        let notification = self.notification.as_ref().map_or(0, |note| note.title.len() + note.body.len());
        let texts = self.cwd.iter().chain(&self.line).map(String::len);
        notification + texts.sum::<usize>()
    }

    /// Takes in an operating system command: what is between its introducer and its terminator.
    pub(crate) fn hear(&mut self, osc: &[u8]) -> Option<Told> {
        let (number, rest) = split(osc);
        match number {
            b"7" => self.go_to(&path_of_url(rest)?),
            b"9" => self.hear_nine(rest),
            b"52" => clipboard(rest),
            b"99" => self.notify(kitty_notification(rest)?),
            b"133" => self.hear_command(rest),
            b"633" => self.hear_editor(rest),
            b"777" => self.notify(notification_of(rest)?),
            _ => None,
        }
    }

    /// ConEmu's numbers, of which two are used, or else a notification.
    fn hear_nine(&mut self, rest: &[u8]) -> Option<Told> {
        let (kind, argument) = split(rest);
        match kind {
            b"4" => self.get_on(argument),
            b"9" => self.go_to(&String::from_utf8_lossy(argument)),
            number if !number.is_empty() && number.iter().all(u8::is_ascii_digit) && number.len() < rest.len() => None,
            _ => self.notify(Notification { title: String::new(), body: text(rest) }),
        }
    }

    fn hear_command(&mut self, rest: &[u8]) -> Option<Told> {
        let (kind, argument) = split(rest);
        match kind {
            b"A" => {
                // A shell that tells no end tells the next prompt.
                let told = self.running.then(|| self.finish(None));
                self.line = None;
                told
            }
            b"C" if !self.running => {
                self.running = true;
                Some(Told::CommandStarted { line: self.line.clone() })
            }
            b"D" if self.running => Some(self.finish(number(split(argument).0))),
            _ => None,
        }
    }

    fn hear_editor(&mut self, rest: &[u8]) -> Option<Told> {
        let (kind, argument) = split(rest);
        match kind {
            b"E" => {
                self.line = Some(unescaped(split(argument).0));
                None
            }
            b"P" => self.go_to(&unescaped(argument.strip_prefix(b"Cwd=")?)),
            _ => self.hear_command(rest),
        }
    }

    fn finish(&mut self, code: Option<i32>) -> Told {
        self.running = false;
        Told::CommandFinished { line: self.line.take(), code }
    }

    fn go_to(&mut self, path: &str) -> Option<Told> {
        let path = text(path.as_bytes());
        if path.is_empty() || self.cwd.as_ref() == Some(&path) {
            return None;
        }
        self.cwd = Some(path.clone());
        Some(Told::Cwd(path))
    }

    fn get_on(&mut self, argument: &[u8]) -> Option<Told> {
        let (state, percent) = split(argument);
        let percent = number(percent).unwrap_or(0).clamp(0, 100) as u8;
        let state = match state {
            b"0" => None,
            b"1" => Some(ProgressState::Normal),
            b"2" => Some(ProgressState::Error),
            b"3" => Some(ProgressState::Indeterminate),
            b"4" => Some(ProgressState::Paused),
            _ => return None,
        };
        let progress = state.map(|state| Progress { state, percent });
        let changed = progress != self.progress;
        self.progress = progress;
        changed.then_some(Told::Progress(progress))
    }

    fn notify(&mut self, notification: Notification) -> Option<Told> {
        if notification.title.is_empty() && notification.body.is_empty() {
            return None;
        }
        self.notification = Some(notification.clone());
        Some(Told::Notification(notification))
    }
}

/// What is before the first semicolon, and what is behind it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b';', bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn number(bytes: &[u8]) -> Option<i32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// As text that can be shown: bounded, without control characters.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    while text.len() > TEXT_BYTES_MAX {
        text.pop();
    }
    text
}

/// The path of `file://HOST/PATH`, or of one without a host.
fn path_of_url(url: &[u8]) -> Option<String> {
    let rest = url.strip_prefix(b"file://").or_else(|| url.strip_prefix(b"kitty-shell-cwd://"))?;
    let path = &rest[memchr::memchr(b'/', rest)?..];
    Some(String::from_utf8_lossy(&percent_decoded(&path[..path.len().min(3 * TEXT_BYTES_MAX)])).into_owned())
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        match (first, hex(behind)) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &behind[2..];
            }
            _ => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

/// The byte that the first two hexadecimal digits say.
fn hex(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A text in which `\xHH` stands for a byte and `\\` for a backslash.
fn unescaped(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..bytes.len().min(4 * TEXT_BYTES_MAX)];
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'\\', [b'x', digits @ ..]) if hex(digits).is_some() => {
                // A line break shows as a blank.
                out.extend(hex(digits).map(|byte| if byte == b'\n' { b' ' } else { byte }));
                &digits[2..]
            }
            (b'\\', [b'\\', behind @ ..]) => {
                out.push(b'\\');
                behind
            }
            _ => {
                out.push(*first);
                behind
            }
        };
    }
    text(&out)
}

fn clipboard(rest: &[u8]) -> Option<Told> {
    let (selection, data) = split(rest);
    // Reading is not answered: whoever may write to a terminal could read what somebody copied elsewhere.
    (data != b"?").then(|| Told::Clipboard { selection: text(&selection[..selection.len().min(16)]), bytes: data.len() })
}

/// urxvt's: `notify;TITLE;BODY`.
fn notification_of(rest: &[u8]) -> Option<Notification> {
    let (title, body) = split(rest.strip_prefix(b"notify;")?);
    Some(Notification { title: text(title), body: text(body) })
}

/// kitty's: `KEY=VALUE:…;TEXT`, as far as it comes in one piece and in plain text.
fn kitty_notification(rest: &[u8]) -> Option<Notification> {
    let (metadata, payload) = split(rest);
    let value = |key: &[u8]| metadata.split(|byte| *byte == b':').find_map(|pair| pair.strip_prefix(key)?.strip_prefix(b"="));
    if value(b"e").is_some_and(|encoding| encoding != b"0") {
        return None;
    }
    match value(b"p") {
        None | Some(b"title") => Some(Notification { title: text(payload), body: String::new() }),
        Some(b"body") => Some(Notification { title: String::new(), body: text(payload) }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(oscs: &[&str]) -> (Marks, Vec<Told>) {
        let mut marks = Marks::default();
        let told = oscs.iter().filter_map(|osc| marks.hear(osc.as_bytes())).collect();
        (marks, told)
    }

    #[test]
    fn a_directory_is_told_once_however_it_is_spelt() {
        let (marks, told) =
            told(&["7;file://host/tmp/a%20b", "7;file:///tmp/a%20b", "633;P;Cwd=/tmp/a b", "9;9;/x", "7;/nothing"]);
        assert_eq!(told, [Told::Cwd("/tmp/a b".into()), Told::Cwd("/x".into())]);
        assert_eq!(marks.cwd.as_deref(), Some("/x"));
    }

    #[test]
    fn a_command_begins_and_ends_once_with_its_line_and_code() {
        let (marks, told) =
            told(&["133;A", "133;B", "633;E;echo a\\x3bb\\\\;nonce", "133;C", "133;C", "133;D;3", "133;D;3", "133;A"]);
        let line = Some("echo a;b\\".to_owned());
        assert_eq!(told, [Told::CommandStarted { line: line.clone() }, Told::CommandFinished { line, code: Some(3) }]);
        assert_eq!(marks.running(), None);
    }

    #[test]
    fn a_shell_that_tells_no_end_tells_the_next_prompt() {
        let (_, told) = told(&["633;A", "633;C", "633;A", "133;D;0"]);
        assert_eq!(told, [Told::CommandStarted { line: None }, Told::CommandFinished { line: None, code: None }]);
    }

    #[test]
    fn notifications_and_progress_are_told_apart() {
        let note = |title: &str, body: &str| Told::Notification(Notification { title: title.into(), body: body.into() });
        let (marks, told) =
            told(&["9;done", "777;notify;make;done;really", "99;i=1:p=body;hello", "9;4;1;40", "9;4;1;40", "9;4;0", "9;1;100"]);
        let half = Progress { state: ProgressState::Normal, percent: 40 };
        assert_eq!(
            told,
            [
                note("", "done"),
                note("make", "done;really"),
                note("", "hello"),
                Told::Progress(Some(half)),
                Told::Progress(None)
            ]
        );
        assert_eq!(marks.progress, None);
    }

    #[test]
    fn the_clipboard_is_written_and_never_read() {
        assert_eq!(told(&["52;c;aGk=", "52;c;?"]).1, [Told::Clipboard { selection: "c".into(), bytes: 4 }]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded_and_can_be_shown(number in prop::sample::select(vec!["7;file:///", "9;", "99;;", "133;", "633;E;", "633;P;Cwd=", "777;notify;"]), payload in prop::collection::vec(any::<u8>(), 0..9000)) {
            let mut marks = Marks::default();
            let osc = [number.as_bytes(), &payload].concat();
            let _ = marks.hear(&osc);
            let _ = marks.hear(b"133;C");
            let notification = marks.notification.clone().map(|note| note.title + &note.body);
            for text in [marks.cwd.clone(), notification, marks.running().map(str::to_owned)].into_iter().flatten() {
                prop_assert!(text.len() <= 2 * TEXT_BYTES_MAX && !text.chars().any(char::is_control));
            }
        }
    }
}
