//! The seam between what one child put out and what the next one does: output of kaval's own, which both have in common that it is in the
//! journal, counted by offsets, logged, and shown. Pure.
//!
//! ```text
//!   … what stood there │ PLAIN │ scrolled into history │ BLANK │ mark │ ── kaval: restarted 2026-11-23 04:05, exit 1 ── │ the next one's …
//!                      ▲ at                                                                                     written whole or not at all
//! ```
//!
//! **Invariants.** A seam belongs at one offset, which was recorded before the next child was let run, and that child's output is taken only
//! once the seam is there: it is missing if and only if the output ends at that offset. So it is written once, whoever is killed when.

use std::{fmt::Write as _, path::PathBuf};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    mirror::{self, Mirror},
    pty::{Exit, Fate},
};

/// Empties the alternate screen of a plain terminal, and what it has of a cursor.
const BLANK_ALTERNATE: &str = "\x1b[?1049h\x1b[H\x1b7\x1b[?1049l";
/// What a window's terminal may have been told beyond what a [plain](mirror::PLAIN) one is free of: kitty's and xterm's keyboard modes, tab
/// stops, colours, the title.
const REST: &str = "\x1b[=0u\x1b[>4m\x1b[?5W\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b]2;\x1b\\";
/// The mark: an editor's property, which those terminals pass over that do not know it.
const MARK: &str = "633;P;KavalStart";

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// Where the output of the child before ends.
    pub at: u64,
    /// How that child came to its end.
    pub fate: Fate,
    /// When the next one is started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The how-manieth time it is that one is.
    pub times: u64,
    /// Where it is started.
    pub dir: PathBuf,
    /// Where it should have been, if there is no such directory any more.
    pub gone: Option<PathBuf>,
}

impl Seam {
    /// The bytes of it behind what stands on `screen`.
    pub(super) fn bytes(&self, screen: &Mirror) -> Vec<u8> {
        let mut out = String::from(mirror::PLAIN);
        out.push_str(BLANK_ALTERNATE);
        out.push_str(REST);
        let (rows, used) = (screen.size().rows(), used_rows(screen));
        let _ = write!(out, "\x1b[{rows};1H{}{}", "\n".repeat(used), mirror::BLANK);
        let marks = screen.marks();
        if marks.running().is_some() {
            out.push_str("\x1b]133;D\x1b\\");
        }
        if marks.progress.is_some() {
            out.push_str("\x1b]9;4;0\x1b\\");
        }
        if marks.cwd.is_some() {
            let _ = write!(out, "\x1b]7;file://{}\x1b\\", url_path(&self.dir.to_string_lossy()));
        }
        let _ = write!(out, "\x1b]{MARK}={}\x1b\\\x1b[2m── kaval: {} ──\x1b[m\r\n", self.times, self.text(&TimeZone::system()));
        out.into_bytes()
    }

    /// What the banner says.
    fn text(&self, zone: &TimeZone) -> String {
        let time = Timestamp::from_millisecond(self.started_ms as i64).unwrap_or_default().to_zoned(zone.clone());
        let why = match self.fate {
            Fate::Ended(Exit::Code(code)) => format!("exit {code}"),
            Fate::Ended(Exit::Signal(signal)) => format!("signal {signal}"),
            Fate::Ended(Exit::Unknown) => "how it ended is not known".to_owned(),
            Fate::Lost => "its pty was gone".to_owned(),
        };
        let gone = self.gone.as_ref().map(|gone| format!(", in {} since {} is gone", self.dir.display(), gone.display()));
        let text = format!("restarted {}, {why}{}", time.strftime("%Y-%m-%d %H:%M"), gone.unwrap_or_default());
        text.chars().filter(|c| !c.is_control()).collect()
    }
}

/// How many rows of the main screen there are down to the last that is not blank.
fn used_rows(screen: &Mirror) -> usize {
    let plain =
        Mirror::restore(&screen.checkpoint()).ok().and_then(|mut copy| copy.feed(mirror::PLAIN.as_bytes()).ok().map(|()| copy));
    plain.map_or(screen.size().rows().into(), |plain| plain.text().lines().count())
}

/// A path as a URL has it.
fn url_path(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;

    fn seam() -> Seam {
        // 2026-11-23 04:05 UTC.
        let started_ms = 1_795_406_700_000;
        Seam { at: 7, fate: Fate::Ended(Exit::Code(1)), started_ms, times: 2, dir: "/".into(), gone: None }
    }

    #[test]
    fn the_banner_says_when_and_why_and_where_if_that_is_not_where_it_was() {
        let text = |seam: Seam| seam.text(&TimeZone::UTC);
        assert_eq!(text(seam()), "restarted 2026-11-23 04:05, exit 1");
        assert_eq!(text(Seam { fate: Fate::Ended(Exit::Signal(9)), ..seam() }), "restarted 2026-11-23 04:05, signal 9");
        let moved = Seam { fate: Fate::Lost, gone: Some("/a\x1bb".into()), ..seam() };
        assert_eq!(text(moved), "restarted 2026-11-23 04:05, its pty was gone, in / since /ab is gone");
    }

    /// Whatever state a program left its screen in, the next one finds it plain and empty but for the banner.
    #[test]
    fn behind_a_seam_the_screen_is_as_new() {
        let left = [
            "",
            "one\r\ntwo\r\nthree",
            "\x1b[?1049h\x1b[?1000h\x1b[?2004hfull\x1b[5;9r\x1b[?6h\x1b[7m",
            "\x1b(0qqq\x1b[4h\x1b[?7l\x1b[3g\x1b[41m\x1b[2J\x1b]2;a title\x07\x1b]4;1;red\x07",
            "x\x1b]133;C\x07\x1b]9;4;1;50\x07\x1b]7;file:///tmp\x07\x1bP half a string",
            "half a character \u{1F600}".split_at(17).0,
        ];
        let mut fresh = Mirror::new(Size::DEFAULT);
        fresh.feed(&seam().bytes(&fresh)).unwrap();
        for left in left {
            let mut screen = Mirror::new(Size::DEFAULT);
            screen.feed(left.as_bytes()).unwrap();
            let bytes = seam().bytes(&screen);
            screen.feed(&bytes).unwrap();
            screen.feed(b"next").unwrap();
            let mut expected = Mirror::restore(&fresh.checkpoint()).unwrap();
            expected.feed(b"next").unwrap();
            assert_eq!(screen.repaint(), expected.repaint(), "{left:?}");
            assert_eq!(screen.title(), "");
            assert_eq!((screen.marks().running(), screen.marks().progress), (None, None));
        }
    }
}
