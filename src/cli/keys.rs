//! What is typed, and kaval's own keys among it. Pure.
//!
//! ```text
//!   key once ─► armed ─┬─ again, soon ─► the key is sent on
//!                      ├─ [ or PgUp, soon ─► the history is shown
//!                      └─ anything else, or a moment passes ─► detach
//! ```
//!
//! A program may have asked the terminal for longer encodings of keys (vim does, of xterm): the key is known in those too.

/// Finds the detach key in what is typed.
#[derive(Debug)]
pub(super) struct Keys {
    key: u8,
    armed: bool,
}

/// What typing comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// Goes to the terminal.
    pub(super) send: Vec<u8>,
    /// Detach, after sending.
    pub(super) detach: bool,
    /// Show the history, after sending.
    pub(super) page: Option<Paging>,
}

/// The history was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paging {
    /// With a page up at once.
    pub(super) up: bool,
    /// What was typed behind that.
    pub(super) rest: Vec<u8>,
}

impl Keys {
    pub(super) fn new(key: u8) -> Self {
        Self { key, armed: false }
    }

    /// Whether the key was pressed once and nothing has followed.
    pub(super) fn is_armed(&self) -> bool {
        self.armed
    }

    /// Takes in what was typed.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        while !bytes.is_empty() {
            let (stroke, len) = self.stroke_at_start(bytes);
            match (stroke, self.armed) {
                (Stroke::Press, true) => {
                    typed.send.push(self.key);
                    self.armed = false;
                }
                (Stroke::Press, false) => self.armed = true,
                (Stroke::Release, _) => {}
                (Stroke::Other, true) => {
                    typed.page = paging(bytes);
                    typed.detach = typed.page.is_none();
                    self.armed = typed.detach;
                    return typed;
                }
                (Stroke::Other, false) => typed.send.extend_from_slice(&bytes[..len]),
            }
            bytes = &bytes[len..];
        }
        typed
    }

    /// What `bytes` begin with, and how long it is.
    fn stroke_at_start(&self, bytes: &[u8]) -> (Stroke, usize) {
        if bytes[0] == self.key {
            return (Stroke::Press, 1);
        }
        let code = u32::from(self.key | 0x40);
        let code = if (65..=90).contains(&code) { code + 32 } else { code };
        match long_encoding(bytes) {
            Some(Long { code: key, modifiers, event, len }) if key == code && is_control(modifiers) => {
                (if event == RELEASED { Stroke::Release } else { Stroke::Press }, len)
            }
            Some(_) | None => (Stroke::Other, 1),
        }
    }
}

/// Whether typing goes on with the key that shows the history: `[`, or a page up.
fn paging(bytes: &[u8]) -> Option<Paging> {
    const BRACKET: u32 = b'[' as u32;
    let long = long_encoding(bytes).filter(|long| long.code == BRACKET && long.event != RELEASED);
    let up = bytes.strip_prefix(b"\x1b[5").and_then(|rest| {
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
        (rest[end] == b'~' && matches!(rest[0], b'~' | b';')).then_some(&rest[end + 1..])
    });
    match (bytes, long, up) {
        ([b'[', rest @ ..], ..) => Some(Paging { up: false, rest: rest.to_vec() }),
        (_, Some(Long { len, .. }), _) => Some(Paging { up: false, rest: bytes[len..].to_vec() }),
        (.., Some(rest)) => Some(Paging { up: true, rest: rest.to_vec() }),
        (_, None, None) => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Press,
    Release,
    Other,
}

/// Kitty's event number of a key let go.
const RELEASED: u32 = 3;

/// A key as programs ask terminals to encode it, so that more of them can be told apart.
struct Long {
    code: u32,
    modifiers: u32,
    event: u32,
    len: usize,
}

/// Reads kitty's `CSI code[:…];modifiers[:event][;text] u`, or xterm's `CSI 27;modifiers;code ~` (modifyOtherKeys).
fn long_encoding(bytes: &[u8]) -> Option<Long> {
    let rest = bytes.strip_prefix(b"\x1b[")?;
    let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    let mut fields =
        str::from_utf8(&rest[..end]).ok()?.split(';').map(|field| field.split(':').map(|n| n.parse().unwrap_or(1)));
    let (mut first, mut second) = (fields.next()?, fields.next()?);
    let (first, second, event) = (first.next()?, second.next()?, second.next().unwrap_or(1));
    let len = b"\x1b[".len() + end + 1;
    match rest[end] {
        b'u' => Some(Long { code: first, modifiers: second, event, len }),
        b'~' if first == 27 => Some(Long { code: fields.next()?.next()?, modifiers: second, event, len }),
        _ => None,
    }
}

/// Whether control is the only modifier, but for caps lock and num lock, which kitty counts as such.
fn is_control(modifiers: u32) -> bool {
    const CONTROL: u32 = 4;
    const LOCKS: u32 = 64 | 128;
    modifiers.checked_sub(1).is_some_and(|bits| bits & !LOCKS == CONTROL)
}

/// Length of what is typed but for the sequence that it leaves unfinished, if it does.
pub(super) fn whole(typed: &[u8]) -> usize {
    let Some(last) = memchr::memrchr(0x1b, typed) else { return typed.len() };
    let is_finished = match &typed[last..] {
        // The first half of what ends a string, or a key.
        [_] => match whole(&typed[..last]) {
            begun if begun < last => return begun,
            _ => true,
        },
        [_, b'[', body @ ..] => body.iter().any(|byte| !(0x20..0x40).contains(byte)),
        [_, b'P' | b']', body @ ..] => body.contains(&7),
        _ => true,
    };
    if is_finished { typed.len() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool, bool) {
        let mut keys = Keys::new(0x1c);
        let mut sent = Vec::new();
        for piece in pieces {
            let typed = keys.take(piece);
            sent.extend(typed.send);
            if typed.detach {
                return (sent, true, keys.is_armed());
            }
        }
        (sent, false, keys.is_armed())
    }

    #[test]
    fn a_sequence_that_is_cut_waits_for_its_rest() {
        for (typed, whole_bytes) in [
            ("", 0),
            ("ls\r", 3),
            ("\x1b", 1),
            ("\x1b[A", 3),
            ("a\x1b[", 1),
            ("\x1b[1;1R\x1b[12;", 6),
            ("\x1bOP", 3),
            ("a\x1b]11;rgb:0", 1),
            ("\x1b]11;rgb:0\x07", 11),
            ("\x1bP>|x\x1b\\", 7),
            ("\x1bP>|x\x1b", 0),
            ("\x1b[1;1Rab", 8),
        ] {
            assert_eq!(whole(typed.as_bytes()), whole_bytes, "{typed:?}");
        }
    }

    #[test]
    fn once_arms_and_twice_is_sent_on() {
        assert_eq!(typed(&[b"ls\x1c"]), (b"ls".to_vec(), false, true));
        assert_eq!(typed(&[b"a\x1c\x1cb"]), (b"a\x1cb".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1c", b"\x1c"]), (b"\x1c".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1cx"]), (b"".to_vec(), true, true));
    }

    #[test]
    fn with_a_bracket_or_a_page_up_behind_it_the_history_is_asked_for() {
        let page = |up, rest: &[u8]| Some(Paging { up, rest: rest.to_vec() });
        for (behind, expected) in [
            ("[", page(false, b"")),
            ("[kk", page(false, b"kk")),
            ("\x1b[5~", page(true, b"")),
            ("\x1b[5;1:1~k", page(true, b"k")),
            ("\x1b[91;1u", page(false, b"")),
            ("\x1b[6~", None),
            ("\x1b[50~", None),
            ("]", None),
        ] {
            let mut keys = Keys::new(0x1c);
            let Typed { send, detach, page } = keys.take(format!("ls\x1c{behind}").as_bytes());
            assert_eq!((send, detach), (b"ls".to_vec(), expected.is_none()), "{behind:?}");
            assert_eq!((page, keys.is_armed()), (expected, detach), "{behind:?}");
        }
        assert_eq!(Keys::new(0x1c).take(b"[").page, None);
    }

    #[test]
    fn kittys_encoding_is_the_same_key() {
        assert_eq!(typed(&[b"\x1b[92;5u"]), (b"".to_vec(), false, true));
        assert_eq!(typed(&[b"\x1b[92;5u\x1b[92;5:1u"]), (b"\x1c".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1b[93;5u"]), (b"\x1b[93;5u".to_vec(), false, false));
        assert_eq!(Keys::new(1).take(b"\x1b[97;5u"), Typed::default());
    }

    #[test]
    fn num_lock_a_key_let_go_and_xterms_encoding_change_nothing() {
        assert_eq!(typed(&[b"\x1b[92;133u\x1b[92;133:3u"]), (b"".to_vec(), false, true));
        assert_eq!(typed(&[b"\x1b[92:124;5:1u\x1b[92;5:3u\x1b[92;5u\x1b[92;5:3ux"]), (b"\x1cx".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1b[27;5;92~"]), (b"".to_vec(), false, true));
        for other in [
            "\x1b[27;5;93~",
            "\x1b[27;6;92~",
            "\x1b[92;7u",
            "\x1b[92u",
            "\x1b[;;u",
            "\x1b[92;0u",
            "\x1b[5~",
            "\x1b[",
            "\x1b[99999999999;5u",
        ] {
            assert_eq!(typed(&[other.as_bytes()]), (other.as_bytes().to_vec(), false, false));
        }
    }
}
