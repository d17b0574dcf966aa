//! A history as a recording that players of asciinema play, in version 3 or 2 of asciicast
//! (<https://docs.asciinema.org/manual/asciicast/v3/>, `/v2/`).
//!
//! ```text
//!   {"version":3,"term":{"cols":80,"rows":24,…},"timestamp":…,…}     what it begins on
//!   [0.25,"o","…"]     output, so many seconds after the event before; in version 2 after the beginning
//!   [1.5,"r","100x40"]     the size
//!   [0,"m","…"]     what is not kept any more
//! ```
//!
//! **Invariants.** Played into a terminal it gives the screen that the output gave: a character that was cut between two events comes whole,
//! with its last byte. Times add up to what they were, to the microsecond, and never run backwards.

use std::io::Write;

use serde_json::{Value, json};

use super::{About, ExportError, Exporter, Item};

/// Of asciicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastVersion {
    /// Times count from the beginning.
    V2,
    /// Times count from the event before.
    V3,
}

/// Bytes of a character at most.
const CHAR_BYTES_MAX: usize = 4;

/// See the module's head.
pub(super) struct Cast {
    version: CastVersion,
    title: String,
    size: (u16, u16),
    /// What draws the screen that it begins on.
    screen: String,
    times: Option<Times>,
    /// The beginning of a character.
    cut: Vec<u8>,
}

/// In microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// The first event's.
    began_us: u64,
    /// The last event's.
    last_us: u64,
}

impl Cast {
    pub(super) fn new(version: CastVersion, about: &About) -> Self {
        let (title, size) = (about.title.clone(), (about.cols, 24));
        Self { version, title, size, screen: String::new(), times: None, cut: Vec::new() }
    }

    fn header(&self, began_us: Option<u64>) -> Value {
        let (cols, rows) = self.size;
        let mut header = match self.version {
            CastVersion::V2 => json!({ "version": 2, "width": cols, "height": rows, "env": { "TERM": "xterm-256color" } }),
            CastVersion::V3 => json!({ "version": 3, "term": { "cols": cols, "rows": rows, "type": "xterm-256color" } }),
        };
        header["title"] = json!(self.title);
        if let Some(began_us) = began_us {
            header["timestamp"] = json!(began_us / 1_000_000);
        }
        header
    }

    /// Writes the header, and what draws the screen that it begins on.
    fn open(&mut self, began_us: Option<u64>, out: &mut dyn Write) -> Result<(), ExportError> {
        writeln!(out, "{}", self.header(began_us))?;
        if !self.screen.is_empty() {
            writeln!(out, "{}", json!([0, "o", self.screen]))?;
        }
        Ok(())
    }

    fn event(&mut self, time_us: u64, code: &str, data: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        let Times { began_us, last_us } = match self.times {
            Some(times) => times,
            None => {
                self.open(Some(time_us), out)?;
                Times { began_us: time_us, last_us: time_us }
            }
        };
        // A clock that was set back must not run time backwards.
        let time_us = time_us.max(last_us);
        self.times = Some(Times { began_us, last_us: time_us });
        let since_us = match self.version {
            CastVersion::V2 => time_us - began_us,
            CastVersion::V3 => time_us - last_us,
        };
        writeln!(out, "[{}.{:06},{},{}]", since_us / 1_000_000, since_us % 1_000_000, json!(code), json!(data))?;
        Ok(())
    }

    /// As text what of it is whole characters; the beginning of another waits.
    fn whole(&mut self, data: &[u8]) -> String {
        self.cut.extend_from_slice(data);
        let (whole, cut) = self.cut.split_at(self.cut.len() - unfinished(&self.cut));
        let (text, cut) = (String::from_utf8_lossy(whole).into_owned(), cut.to_vec());
        self.cut = cut;
        text
    }
}

/// How many bytes at the end are the beginning of a character that more bytes could make whole.
fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(CHAR_BYTES_MAX - 1);
    let begins = |count: &usize| match std::str::from_utf8(&bytes[bytes.len() - count..]) {
        Ok(_) => false,
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    };
    (1..=longest).find(begins).unwrap_or(0)
}

impl Exporter for Cast {
    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }

    fn take(&mut self, item: Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        match item {
            Item::Screen { cols, rows, data } => {
                self.size = (cols, rows);
                // It may end with the beginning of a character.
                self.screen = self.whole(data);
                Ok(())
            }
            Item::Output { data, time_us } => {
                let text = self.whole(data);
                self.event(time_us, "o", &text, out)
            }
            Item::Resized { cols, rows, .. } if self.size == (cols, rows) => Ok(()),
            Item::Resized { cols, rows, time_us } => {
                self.size = (cols, rows);
                self.event(time_us, "r", &format!("{cols}x{rows}"), out)
            }
            Item::Missing { bytes } => match self.times {
                Some(Times { last_us, .. }) => self.event(last_us, "m", &format!("{bytes} bytes not kept"), out),
                None => Ok(()),
            },
            Item::Lines(_) => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        match self.times {
            None => self.open(None, out),
            Some(_) if self.cut.is_empty() => Ok(()),
            Some(Times { last_us, .. }) => {
                let rest = String::from_utf8_lossy(&std::mem::take(&mut self.cut)).into_owned();
                self.event(last_us, "o", &rest, out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCREEN: Item<'_> = Item::Screen { cols: 80, rows: 24, data: b"" };

    fn played(version: CastVersion, items: &[Item<'_>]) -> Vec<Value> {
        let mut out = Vec::new();
        let mut cast = Cast::new(version, &About { title: "t".to_owned(), cols: 80 });
        cast.begin(&mut out).unwrap();
        items.iter().for_each(|item| cast.take(*item, &mut out).unwrap());
        cast.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn times_count_from_the_event_before_or_from_the_beginning() {
        let output = |data, time_us| Item::Output { data, time_us };
        let items = [
            SCREEN,
            output(b"a", 5_000_000),
            Item::Resized { cols: 100, rows: 40, time_us: 5_250_000 },
            Item::Missing { bytes: 7 },
            output(b"\x1b[1m\"", 6_000_001),
            output(b"back", 3),
        ];
        let head =
            json!({"version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm-256color"}, "title": "t", "timestamp": 5});
        let m = "7 bytes not kept";
        let events = [
            json!([0.0, "o", "a"]),
            json!([0.25, "r", "100x40"]),
            json!([0.0, "m", m]),
            json!([0.750001, "o", "\u{1b}[1m\""]),
            json!([0.0, "o", "back"]),
        ];
        assert_eq!(played(CastVersion::V3, &items), [&[head][..], &events].concat());
        let times: Vec<_> = played(CastVersion::V2, &items)[1..].iter().map(|event| event[0].as_f64().unwrap()).collect();
        assert_eq!(times, [0.0, 0.25, 0.25, 1.000001, 1.000001]);
    }

    #[test]
    fn it_begins_on_the_screen_that_there_was() {
        let screen = Item::Screen { cols: 7, rows: 3, data: b"drawn\xe6\x97" };
        let found = played(CastVersion::V2, &[screen, Item::Output { data: b"\xa5", time_us: 1 }]);
        assert_eq!((&found[0]["width"], &found[0]["height"]), (&json!(7), &json!(3)));
        assert_eq!(found[1..], [json!([0, "o", "drawn"]), json!([0.0, "o", "日"])]);
        assert_eq!(played(CastVersion::V3, &[SCREEN]).len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_played_is_what_was_put_out_however_it_was_cut(
            text in "[a-zé日👍\u{1b}\u{7f}\"]{0,40}", broken in prop::collection::vec(any::<u8>(), 0..12), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = [text.as_bytes(), &broken].concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let outputs = cuts.windows(2).map(|cut| Item::Output { data: &bytes[cut[0]..cut[1]], time_us: cut[0] as u64 });
            let found = played(CastVersion::V3, &[SCREEN].into_iter().chain(outputs).collect::<Vec<_>>());
            let joined: String = found[1..].iter().map(|event| event[2].as_str().unwrap()).collect();
            prop_assert_eq!(joined, String::from_utf8_lossy(&bytes));
        }
    }
}
