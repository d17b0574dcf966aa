//! What is typed, as keys. Pure.
//!
//! Terminals send a key as a character, or as a sequence: `CSI … letter`, `CSI number ~`, `SS3 letter`. An ESC that nothing follows is the
//! key of that name.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// With Control: the letter, small.
    Ctrl(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// The keys of what was typed; those that nothing is done with are left out.
pub(super) fn keys(typed: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(typed);
    let (mut rest, mut keys) = (&*text, Vec::new());
    while let Some(first) = rest.chars().next() {
        let (key, len) = match first {
            '\x1b' => sequence(rest),
            '\r' | '\n' => (Some(Key::Enter), 1),
            '\x08' | '\x7f' => (Some(Key::Backspace), 1),
            '\x01'..='\x1a' => (Some(Key::Ctrl(char::from(first as u8 + b'a' - 1))), 1),
            c if c.is_control() => (None, c.len_utf8()),
            c => (Some(Key::Char(c)), c.len_utf8()),
        };
        keys.extend(key);
        rest = &rest[len..];
    }
    keys
}

/// What begins with ESC, and how long it is.
fn sequence(text: &str) -> (Option<Key>, usize) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'[') => {
            let Some(end) = bytes[2..].iter().position(|byte| (0x40..0x7f).contains(byte)) else { return (None, text.len()) };
            let parameter = text[2..2 + end].split([';', ':']).next().unwrap_or_default();
            (named(parameter, bytes[2 + end]), end + 3)
        }
        Some(b'O') if bytes.len() > 2 && bytes[2].is_ascii() => (named("", bytes[2]), 3),
        // What the terminal answers to what a program asked before.
        Some(b']' | b'P' | b'^' | b'_') => {
            let ends = |at: usize| bytes[at] == 7 || bytes[at..].starts_with(b"\x1b\\");
            let end =
                (2..bytes.len()).find(|at| ends(*at)).map_or(text.len(), |at| if bytes[at] == 7 { at + 1 } else { at + 2 });
            (None, end)
        }
        // The next sequence's.
        Some(0x1b) | None => (Some(Key::Escape), 1),
        // With Alt.
        Some(_) => (None, 1 + text[1..].chars().next().map_or(0, char::len_utf8)),
    }
}

fn named(parameter: &str, last: u8) -> Option<Key> {
    Some(match (last, parameter) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', "1" | "7") => Key::Home,
        (b'F', _) | (b'~', "4" | "8") => Key::End,
        (b'~', "5") => Key::PageUp,
        (b'~', "6") => Key::PageDown,
        (b'M', "") => Key::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_told_apart_however_terminals_send_them() {
        let typed =
            b"j\x1b[A\x1bOB\x1b[5~\x1b[6;2~\x1b[1~\x1b[F\x04\r\x7f\xc3\xa9\x1bx\x1b[200~\x1b]11;rgb:1/2\x07\x1bP>|q\x1b\\\x1b";
        let expected = [
            Key::Char('j'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::PageDown,
            Key::Home,
            Key::End,
            Key::Ctrl('d'),
            Key::Enter,
            Key::Backspace,
            Key::Char('é'),
            Key::Escape,
        ];
        assert_eq!(keys(typed), expected);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_read_to_its_end(typed in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(keys(&typed).len() <= typed.len());
        }

        #[test]
        fn keys_that_follow_each_other_are_those_that_they_are_alone(parts in prop::collection::vec(prop::sample::select(
            vec!["a", "\x1b[A", "\x1bOA", "\x1b[5~", "\r", "\x03", "漢", "\x1bz"]), 0..12)) {
            let alone: Vec<Key> = parts.iter().flat_map(|part| keys(part.as_bytes())).collect();
            prop_assert_eq!(keys(parts.concat().as_bytes()), alone);
        }
    }
}
