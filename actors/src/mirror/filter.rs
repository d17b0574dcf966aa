//! The seam between raw output and vt100: whatever has to be changed on its way, for vt100 to draw it right, is changed here.
//!
//! Today that is one thing: vte 0.15, which vt100 parses with, mishandles a UTF-8 character that is cut between two calls (it drops
//! what follows it in some cases, and prints a C1 control instead of obeying it), so no character is cut: its head waits here for the rest.

use std::str;

/// What waits between two calls: the head of a character, at most three bytes.
#[derive(Debug, Default, Clone)]
pub(super) struct Filter {
    head: [u8; 4],
    len: usize,
}

impl Filter {
    /// Feeds `bytes` to the parser.
    pub(super) fn drive<C: vt100::Callbacks>(&mut self, bytes: &[u8], parser: &mut vt100::Parser<C>) {
        let rest = self.complete(bytes, parser);
        let (whole, head) = rest.split_at(rest.len() - incomplete_tail(rest));
        parser.process(whole);
        self.head[self.len..self.len + head.len()].copy_from_slice(head);
        self.len += head.len();
    }

    /// Whether nothing waits.
    pub(super) fn is_between(&self) -> bool {
        self.len == 0
    }

    /// Completes the waiting character from the front of `bytes`; what is left of them.
    fn complete<'a, C: vt100::Callbacks>(&mut self, bytes: &'a [u8], parser: &mut vt100::Parser<C>) -> &'a [u8] {
        if self.len == 0 {
            return bytes;
        }
        for (used, &byte) in bytes.iter().enumerate() {
            self.head[self.len] = byte;
            match str::from_utf8(&self.head[..=self.len]) {
                Ok(character) => {
                    parser.process(character.as_bytes());
                    self.len = 0;
                    return &bytes[used + 1..];
                }
                Err(error) if error.error_len().is_some() => {
                    parser.process("\u{fffd}".as_bytes());
                    self.len = 0;
                    return &bytes[used..];
                }
                Err(_) => self.len += 1,
            }
        }
        &[]
    }
}

/// How many bytes at the end begin a character that the next bytes may complete.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let begins = |&len: &usize| {
        let tail = &bytes[bytes.len() - len..];
        tail[0] >= 0xc2 && matches!(str::from_utf8(tail), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(begins).unwrap_or(0)
}
