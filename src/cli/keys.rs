//! What is typed, and the detach key among it. Pure.
//!
//! ```text
//!   key once ─► armed ─┬─ again, soon ─► the key is sent on
//!                      └─ anything else, or a moment passes ─► detach
//! ```

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
            let presses = self.press_at_start(bytes);
            match (presses, self.armed) {
                (Some(len), true) => {
                    typed.send.push(self.key);
                    self.armed = false;
                    bytes = &bytes[len..];
                }
                (Some(len), false) => {
                    self.armed = true;
                    bytes = &bytes[len..];
                }
                (None, true) => {
                    typed.detach = true;
                    return typed;
                }
                (None, false) => {
                    typed.send.push(bytes[0]);
                    bytes = &bytes[1..];
                }
            }
        }
        typed
    }

    /// The length of the key's encoding if `bytes` begin with one: its control byte, or kitty's `CSI code;5u`.
    fn press_at_start(&self, bytes: &[u8]) -> Option<usize> {
        if bytes[0] == self.key {
            return Some(1);
        }
        let code = u32::from(self.key | 0x40);
        let code = if (65..=90).contains(&code) { code + 32 } else { code };
        let encodings = [format!("\x1b[{code};5u"), format!("\x1b[{code};5:1u")];
        encodings.iter().find(|encoding| bytes.starts_with(encoding.as_bytes())).map(String::len)
    }
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
    fn once_arms_and_twice_is_sent_on() {
        assert_eq!(typed(&[b"ls\x1c"]), (b"ls".to_vec(), false, true));
        assert_eq!(typed(&[b"a\x1c\x1cb"]), (b"a\x1cb".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1c", b"\x1c"]), (b"\x1c".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1cx"]), (b"".to_vec(), true, true));
    }

    #[test]
    fn kittys_encoding_is_the_same_key() {
        assert_eq!(typed(&[b"\x1b[92;5u"]), (b"".to_vec(), false, true));
        assert_eq!(typed(&[b"\x1b[92;5u\x1b[92;5:1u"]), (b"\x1c".to_vec(), false, false));
        assert_eq!(typed(&[b"\x1b[93;5u"]), (b"\x1b[93;5u".to_vec(), false, false));
        assert_eq!(Keys::new(1).take(b"\x1b[97;5u"), Typed::default());
    }
}
