//! Random sequences that a program may send, weighted, each under the name of what it tries.
//!
//! Three tables say what is left out of a stream and why: what alacritty does otherwise than xterm's documentation
//! (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>) has no generator at all and is only named here; what differs only in
//! company is in [`APART`]; what the mirror does not do yet is in [`MISSING`].

use std::fmt;

use proptest::{
    prelude::*,
    sample::{Index, select},
    strategy::Union,
};

/// What the mirror cannot do yet, so that no stream has it. Each must still make a difference: see `fuzz`.
pub(crate) const MISSING: &[(&str, &str)] = &[];

/// Left out for good, and why alacritty cannot judge it.
///
/// | sequence | why |
/// |---|---|
/// | `?47`, `?1047`, `?1048` | alacritty knows only 1049 |
/// | DECSED, DECSEL, DECSCA | alacritty ignores them |
/// | DECSTR, DECCOLM | alacritty ignores the first, and does the second without asking for mode 40 |
/// | SL, SR, DECIC, DECDC, left and right margins | alacritty ignores them |
/// | C1 controls as characters | alacritty ignores most of them |
/// | `?2026` | alacritty holds drawing back |
/// | U+FE0F and joined emoji | their widths are a matter of taste |
///
/// Pairs of features that never meet in one stream, since alacritty and xterm differ where they do.
pub(crate) const APART: &[(&str, &str, &str)] = &[
    ("up and down", "margins", "alacritty moves through margins; xterm stops at them"),
];

/// One sequence.
#[derive(Clone)]
pub(crate) struct Op {
    pub(crate) feature: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: b\"{}\"", self.feature, self.bytes.escape_ascii())
    }
}

fn bytes(text: impl AsRef<str>) -> Vec<u8> {
    text.as_ref().as_bytes().to_vec()
}

/// Small numbers, absent ones and zeros, seldom a big one.
fn count() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        1 => Just("0".to_owned()),
        8 => (1..6u32).prop_map(|n| n.to_string()),
        2 => (1..30u32).prop_map(|n| n.to_string()),
        1 => Just("999".to_owned()),
    ]
}

fn csi(finals: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    (count(), select(finals)).prop_map(|(n, last)| bytes(format!("\x1b[{n}{last}"))).boxed()
}

fn one_of(list: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    select(list).prop_map(bytes).boxed()
}

fn pair(first: &'static str, last: &'static str) -> BoxedStrategy<Vec<u8>> {
    (count(), count()).prop_map(move |(a, b)| bytes(format!("{first}{a};{b}{last}"))).boxed()
}

/// Top above bottom, as only such are obeyed.
fn margins() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => (1..4u8, 1..4u8).prop_map(|(top, height)| bytes(format!("\x1b[{top};{}r", top + height))),
        1 => Just(bytes("\x1b[r")),
    ]
    .boxed()
}

const PLAIN_SGR: &[&str] = &[
    "", "0", "1", "2", "3", "4", "7", "22", "23", "24", "27", "31", "42", "93", "104", "39", "49", "38;5;200", "48;5;17", "38;2;1;2;3",
    "48;2;9;8;7", "31;44;3", "0;4;32",
];

/// Every feature with its weight.
fn features() -> Vec<(&'static str, u32, BoxedStrategy<Vec<u8>>)> {
    vec![
        ("text", 30, "[ -~]{1,8}".prop_map(bytes).boxed()),
        ("long text", 6, "[a-z]{10,40}".prop_map(bytes).boxed()),
        ("wide", 6, one_of(&["漢", "字漢", "🦀", "あ"])),
        ("combining", 4, one_of(&["e\u{301}", "\u{308}", "漢\u{300}"])),
        ("return and feed", 10, one_of(&["\r\n", "\n", "\r", "\x0b", "\x0c", "\r\n\r\n"])),
        ("backspace", 4, one_of(&["\x08", "\x08\x08\x08"])),
        ("tab", 5, one_of(&["\t", "\t\t"])),
        ("tab stops", 4, one_of(&["\x1bH", "\x1b[g", "\x1b[0g", "\x1b[3g"])),
        ("tab motion", 3, csi(&["I", "Z"])),
        ("index", 5, one_of(&["\x1bD", "\x1bE"])),
        ("reverse index", 5, one_of(&["\x1bM"])),
        ("position", 12, prop_oneof![pair("\x1b[", "H"), pair("\x1b[", "f")].boxed()),
        ("up and down", 6, csi(&["A", "B", "E", "F"])),
        ("left and right", 6, csi(&["C", "D"])),
        ("column and row", 6, csi(&["G", "`", "d"])),
        ("relative", 3, csi(&["a", "e"])),
        ("erase", 8, one_of(&["\x1b[J", "\x1b[1J", "\x1b[2J", "\x1b[K", "\x1b[1K", "\x1b[2K"])),
        ("erase characters", 4, csi(&["X"])),
        ("insert and delete characters", 6, csi(&["@", "P"])),
        ("insert and delete lines", 6, csi(&["L", "M"])),
        ("scroll", 5, csi(&["S", "T"])),
        ("margins", 6, margins()),
        ("origin", 4, one_of(&["\x1b[?6h", "\x1b[?6l"])),
        ("alternate screen", 4, one_of(&["\x1b[?1049h", "\x1b[?1049l"])),
        ("wrap mode", 4, one_of(&["\x1b[?7l", "\x1b[?7h"])),
        ("insert mode", 4, one_of(&["\x1b[4h", "\x1b[4l"])),
        ("newline mode", 2, one_of(&["\x1b[20h", "\x1b[20l"])),
        ("save and restore", 6, one_of(&["\x1b7", "\x1b8"])),
        ("save and restore by CSI", 3, one_of(&["\x1b[s", "\x1b[u"])),
        ("attributes", 12, select(PLAIN_SGR).prop_map(|sgr| bytes(format!("\x1b[{sgr}m"))).boxed()),
        (
            "attributes with colons",
            3,
            one_of(&["\x1b[4:3m", "\x1b[4:0m", "\x1b[38:2:1:2:3m", "\x1b[48:2::9:8:7m", "\x1b[38:5:9m", "\x1b[58:2::1:2:3m", "\x1b[58;5;1m"]),
        ),
        ("other attributes", 2, one_of(&["\x1b[5m", "\x1b[8m", "\x1b[9m", "\x1b[21m", "\x1b[25m", "\x1b[28m", "\x1b[29m", "\x1b[53m"])),
        ("repeat", 4, csi(&["b"])),
        ("character sets", 4, one_of(&["\x1b(0", "\x1b(B", "\x1b)0", "\x1b)B", "\x0e", "\x0f"])),
        ("alignment", 1, one_of(&["\x1b#8"])),
        ("reset", 1, one_of(&["\x1bc"])),
        ("shown cursor", 2, one_of(&["\x1b[?25l", "\x1b[?25h"])),
        ("other modes", 2, one_of(&["\x1b[?1h", "\x1b[?1l", "\x1b=", "\x1b>", "\x1b[?2004h", "\x1b[?1000h", "\x1b[?1006h", "\x1b[?1004h"])),
        ("strings", 2, one_of(&["\x1b]0;t\x07", "\x1b]2;t\x1b\\", "\x1bPq#0\x1b\\", "\x1b_x\x1b\\", "\x1b^x\x1b\\", "\x1b]8;;u\x07"])),
        ("cut short", 2, one_of(&["\x1b[3\x18", "\x1b[3\x1a", "\x1b[1\x1b[2C", "\x1b]2;x\x18", "\x1b[3\n;4H"])),
        ("unknown", 2, one_of(&["\x1b[?9999h", "\x1b[>c", "\x1b[=1;2x", "\x1b[1 ~", "\x1bl", "\x1b%G", "\x1b[!w", "\x1b[<3m"])),
        ("invalid", 2, select(&[&b"\xff"[..], b"\xc3(", b"\xe2\x82x", b"\x80", b"\xf0\x9f\xa6", b"\xed\xa0\x80"][..]).prop_map(<[u8]>::to_vec).boxed()),
        ("replacement character", 1, one_of(&["\u{fffd}"])),
    ]
}

/// Names of all features.
pub(crate) fn names() -> Vec<&'static str> {
    features().into_iter().map(|(name, ..)| name).collect()
}

/// Streams of at most `ops_max` sequences, of all features but those `left_out`.
pub(crate) fn streams(left_out: &[&'static str], ops_max: usize) -> impl Strategy<Value = Vec<Op>> + use<> {
    let kept = features().into_iter().filter(|(name, ..)| !left_out.contains(name));
    let op = Union::new_weighted(
        kept.map(|(feature, weight, strategy)| (weight, strategy.prop_map(move |bytes| Op { feature, bytes }).boxed())).collect(),
    );
    (prop::collection::vec(op, 0..ops_max), any::<[bool; APART.len()]>()).prop_map(|(mut ops, firsts)| {
        for ((a, b, _), first) in APART.iter().zip(firsts) {
            ops.retain(|op| op.feature != if first { *a } else { *b });
        }
        ops
    })
}

/// A stream's bytes.
pub(crate) fn concat(ops: &[Op]) -> Vec<u8> {
    ops.iter().flat_map(|op| op.bytes.iter().copied()).collect()
}

/// Where in `len` bytes a cut falls.
pub(crate) fn cut(at: &Index, len: usize) -> usize {
    at.index(len + 1)
}
