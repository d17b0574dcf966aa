//! What a terminal says when asked, told from what is typed. Pure.

/// What an answer is an answer to, as far as it shows: its introducer and what does not depend on the state of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind([u8; 4]);

/// An answer that input begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) length: usize,
    pub(super) kind: Kind,
    /// It may be a key as well: `CSI 1;2R` is F3 with shift, and the cursor's place.
    pub(super) may_be_key: bool,
}

/// The kinds of all answers in what the screen would say.
pub(super) fn kinds(mut replies: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Some(reply) = read(replies) {
        kinds.push(reply.kind);
        replies = &replies[reply.length..];
    }
    kinds
}

/// Reads the answer that `bytes` begin with.
pub(super) fn read(bytes: &[u8]) -> Option<Reply> {
    let [0x1b, introducer, body @ ..] = bytes else { return None };
    match introducer {
        b'[' => read_sequence(body),
        b'P' | b']' => {
            // No further than to the next ESC, so that input full of them is looked at once.
            let text = body.iter().position(|byte| *byte < b' ')?;
            let end = match body[text..] {
                [0x07, ..] => 1,
                [0x1b, b'\\', ..] => 2,
                _ => return None,
            };
            let kind = string_kind(*introducer, &body[..text]);
            Some(Reply { length: 2 + text + end, kind, may_be_key: false })
        }
        _ => None,
    }
}

fn read_sequence(body: &[u8]) -> Option<Reply> {
    let end = body.iter().position(|byte| (0x40..0x7f).contains(byte))?;
    let (parameters, last) = (&body[..end], body[end]);
    let prefix = parameters.first().copied().filter(|byte| matches!(byte, b'?' | b'>' | b'='));
    let is_mode = parameters.ends_with(b"$");
    let is_said = match last {
        b'c' | b'u' => prefix.is_some(),
        b'y' => prefix.is_some() || is_mode,
        b'R' | b'n' | b't' | b'x' => !parameters.is_empty(),
        _ => false,
    };
    let is_plain = parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b'?' | b'>' | b'=' | b'$'));
    if !is_said || !is_plain {
        return None;
    }
    let detail = if last == b't' { parameters[0] } else { u8::from(is_mode) };
    let may_be_key = last == b'R' && matches!(parameters, [b'1', b';', b'1'..=b'9'] | [b'1', b';', b'1', _]);
    Some(Reply { length: end + 3, kind: Kind([b'[', prefix.unwrap_or(0), detail, last]), may_be_key })
}

/// An operating system command is known by its number, a device control string by what stands behind its parameters.
fn string_kind(introducer: u8, text: &[u8]) -> Kind {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let shown = if introducer == b']' { &text[..digits.max(1).min(text.len())] } else { &text[digits..] };
    let at = |at: usize| shown.get(at).copied().unwrap_or(0);
    Kind([introducer, at(0), at(1), if introducer == b']' { at(2) } else { 0 }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_answer(bytes: &[u8]) -> bool {
        read(bytes).is_some_and(|reply| reply.length == bytes.len() && !reply.may_be_key)
    }

    #[test]
    fn answers_are_told_from_what_is_typed() {
        for answer in
            ["\x1b[?62;22c", "\x1b[12;40R", "\x1b[0n", "\x1b[?2026;2$y", "\x1bP>|xterm\x1b\\", "\x1b]11;rgb:0/0/0\x07"]
        {
            assert!(is_answer(answer.as_bytes()), "{answer:?}");
        }
        for typed in ["", "a", "\x1b", "\x1b[A", "\x1b[c", "\x1b[1;5C", "\x1b]11;", "\x1b[97;5u", "\x1b[1;2R", "\x1b[200~"] {
            assert!(!is_answer(typed.as_bytes()), "{typed:?}");
        }
    }

    #[test]
    fn a_string_ends_at_the_first_control_character_or_is_no_answer() {
        for typed in ["\x1b]\x1b]11;x\x07", "\x1b]11;\rx\x07", "\x1bP1$r\x1b[A\x1b\\", "\x1b]11;x\x1b"] {
            assert!(read(typed.as_bytes()).is_none(), "{typed:?}");
        }
    }

    #[test]
    fn answers_to_the_same_question_are_of_one_kind_whatever_they_say() {
        let same = [
            ["\x1b[?62;22c", "\x1b[?1;2c"],
            ["\x1b[1;1R", "\x1b[12;40R"],
            ["\x1bP1$r0m\x1b\\", "\x1bP0$r\x1b\\"],
            ["\x1b]11;rgb:0/0/0\x07", "\x1b]11;rgb:ffff/ffff/ffff\x1b\\"],
            ["\x1b[8;24;80t", "\x1b[8;50;132t"],
        ];
        let kind = |answer: &str| read(answer.as_bytes()).unwrap().kind;
        for [one, other] in same {
            assert_eq!(kind(one), kind(other), "{one:?}, {other:?}");
        }
        for (n, [one, _]) in same.iter().enumerate() {
            assert!(same[n + 1..].iter().all(|[other, _]| kind(one) != kind(other)), "{one:?}");
        }
        for [one, other] in [["\x1b[?1;1R", "\x1b[1;1R"], ["\x1b[4;1;1t", "\x1b[8;1;1t"], ["\x1b]10;x\x07", "\x1b]11;x\x07"]] {
            assert_ne!(kind(one), kind(other), "{one:?}, {other:?}");
        }
        assert_eq!(kinds(b"\x1bP1+r544E=00\x1b\\\x1bP0+r00\x1b\\").len(), 2);
    }
}
