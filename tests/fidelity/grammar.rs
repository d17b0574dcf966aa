//! Random sequences that a program may send, weighted, each under the name of what it tries.
//!
//! What alacritty does otherwise than xterm (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>) has no generator:
//!
//! | sequence | why |
//! |---|---|
//! | `?47`, `?1047`, `?1048` | alacritty knows only 1049 |
//! | DECSED, DECSEL, DECSCA | alacritty ignores them |
//! | DECSTR, DECCOLM | alacritty ignores the first, and does the second without asking for mode 40 |
//! | SL, SR, DECIC, DECDC, left and right margins | alacritty ignores them |
//! | C1 controls as characters | alacritty ignores most of them |
//! | `?2026` | alacritty holds drawing back |
//! | ED 1 | alacritty leaves the first row when the cursor is on the second |
//! | DCH of more columns than are left | alacritty blanks columns before the cursor too |
//! | a wide character over what stands in the last column | alacritty blanks that; xterm leaves it |
//! | a combining character in the first column | alacritty puts it on the column itself |
//! | ED, EL 0, ECH, ICH, DCH, IL, DL, 1049 while a wrap is pending | it still is in alacritty; xterm ends it |
//! | 1049 set on the alternate screen, reset on the main one | alacritty ignores them; xterm saves and restores the cursor |
//! | DECALN without DECSTBM, DECOM and CUP around it | alacritty neither homes nor resets margins |
//! | surrogates in UTF-8 | alacritty counts their bytes by how they come |
//! | IL, DL but in the first column | alacritty keeps the column; xterm goes to the first |
//! | LF, IND and RI while a wrap is pending | it still is in alacritty; xterm's CursorDown and CursorUp end it |
//! | LNM | alacritty ignores it in output |
//! | a lone byte of 0x80 to 0x9f | alacritty takes it for a C1 control |
//! | SGR 21 | alacritty ends bold; xterm underlines twice |
//! | HT while a wrap is pending | alacritty wraps; xterm stays |
//! | DECOM reset, not followed by CUP | alacritty does not home |
//! | margins reaching past the foot | alacritty takes a region of one row; hence the sizes in `fuzz` |
//! | REP not right after its character | terminals differ about what they remember |
//! | U+FE0F and joined emoji | their widths are a matter of taste |
//!
//! What differs only in company is in [`APART`]; what the mirror does not do yet is in [`MISSING`].

use std::fmt;

use kaval_actors::Size;
use proptest::{prelude::*, sample::select, strategy::Union};

/// What the mirror cannot do yet, or does as xterm where alacritty does otherwise, so that no stream has it. Each must still make a difference:
/// see `fuzz`.
pub(crate) const MISSING: &[(&str, &str)] =
    &[("back tab", "alacritty keeps a wrap to come over CBT"), ("dim", "vt100 has either bold or dim")];

const ORIGIN: &str = "xterm saves origin mode with the cursor; alacritty does not";

const OVERWRITTEN: &str = "of a wide character that is half written over, the other half looks as before in alacritty";

const HALVES: &str = "alacritty leaves half of a wide character standing; xterm blanks it";

const SHIFTED: &str = "alacritty does not save which set is shifted in; xterm does";

/// Pairs of features that never meet in one stream, since alacritty and xterm differ where they do.
pub(crate) const APART: &[(&str, &str, &str)] = &[
    ("origin", "column and row", "alacritty moves by the margin for CHA; xterm stays in its row"),
    ("origin", "tab", "it begins with a CHA"),
    ("character sets", "save and restore", SHIFTED),
    ("character sets", "save and restore by CSI", SHIFTED),
    ("character sets", "alternate screen", SHIFTED),
    ("up and down", "margins", "alacritty moves through margins; xterm stops at them"),
    ("back tab", "tab stops", "without a stop alacritty stays; xterm goes to the first column"),
    ("origin", "rows", "alacritty keeps origin mode over a resize; xterm ends it with the margins"),
    ("origin", "save and restore", ORIGIN),
    ("origin", "save and restore by CSI", ORIGIN),
    ("origin", "alternate screen", ORIGIN),
    ("wide", "erase", HALVES),
    ("wide", "erase to the left", HALVES),
    ("wide", "backgrounds", OVERWRITTEN),
    ("wide", "underline and inverse", OVERWRITTEN),
    ("wide", "erase characters", HALVES),
    ("wide", "insert characters", HALVES),
    ("wide", "delete characters", HALVES),
    ("wide", "insert mode", HALVES),
    ("wide at the margin", "erase", HALVES),
    ("wide at the margin", "erase to the left", HALVES),
    ("wide at the margin", "backgrounds", OVERWRITTEN),
    ("wide at the margin", "underline and inverse", OVERWRITTEN),
    ("wide at the margin", "erase characters", HALVES),
    ("wide at the margin", "insert characters", HALVES),
    ("wide at the margin", "delete characters", HALVES),
    ("wide at the margin", "insert mode", HALVES),
    ("wide at the margin", "wrap mode", "without wrapping alacritty drops a wide character that does not fit"),
];

/// What happens to a screen, and the name of what it tries.
#[derive(Clone)]
pub(crate) struct Op {
    pub(crate) feature: &'static str,
    pub(crate) act: Act,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Output.
    Write(Vec<u8>),
    /// Another number of rows. The columns stay, since alacritty reflows.
    Rows(u32),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Write(bytes) => write!(f, "{}: b\"{}\"", self.feature, bytes.escape_ascii()),
            Act::Rows(rows) => write!(f, "{}: {rows}", self.feature),
        }
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

/// The same after a motion that ends a pending wrap.
fn moved(finals: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    csi(finals).prop_map(|bytes| [b"\x1b[C".to_vec(), bytes].concat()).boxed()
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

const INVALID: &[&[u8]] = &[b"\xffx", b"\xc3(", b"\xe2\x82x", b"\xf0\x9f\xa6x"];

/// Every feature with its weight.
fn features() -> Vec<(&'static str, u32, BoxedStrategy<Vec<u8>>)> {
    vec![
        ("text", 30, "[ -~]{1,8}".prop_map(bytes).boxed()),
        ("long text", 6, "[a-z]{10,40}".prop_map(bytes).boxed()),
        ("wide", 6, one_of(&["\r漢", "\x1b[2G漢\u{300}", "\r字漢", "\r🦀", "\x1b[2Gあ"])),
        ("wide at the margin", 3, one_of(&["\x1b[999G\x1b[m \x1b[999G漢"])),
        ("combining", 4, one_of(&["e\u{301}", "a\u{300}\u{323}"])),
        ("return and feed", 10, one_of(&["\r\n", "\x1b[C\n", "\r", "\r\x0b", "\x1b[C\x0c", "\r\n\r\n"])),
        ("backspace", 4, one_of(&["\x08", "\x08\x08\x08"])),
        ("tab", 5, one_of(&["\r\t", "\r\t\t", "\x1b[3G\t", "\x1b[7G\t\t"])),
        ("tab stops", 4, one_of(&["\x1bH", "\x1b[g", "\x1b[0g", "\x1b[3g"])),
        ("tab motion", 2, csi(&["I"])),
        ("back tab", 2, csi(&["Z"])),
        ("index", 5, one_of(&["\r\x1bD", "\x1b[C\x1bD", "\x1bE"])),
        ("reverse index", 5, one_of(&["\r\x1bM", "\x1b[C\x1bM"])),
        ("position", 12, prop_oneof![pair("\x1b[", "H"), pair("\x1b[", "f")].boxed()),
        ("up and down", 6, csi(&["A", "B", "E", "F"])),
        ("left and right", 6, csi(&["C", "D"])),
        ("column and row", 6, csi(&["G", "`", "d"])),
        ("relative", 3, csi(&["a", "e"])),
        ("erase", 8, one_of(&["\x1b[C\x1b[J", "\x1b[C\x1b[2J", "\x1b[C\x1b[K", "\r\x1b[K", "\x1b[C\x1b[2K"])),
        ("erase to the left", 3, one_of(&["\x1b[1K"])),
        ("erase characters", 4, moved(&["X"])),
        ("insert characters", 5, moved(&["@"])),
        ("delete characters", 5, one_of(&["\x1b[C\x1b[P", "\x1b[3G\x1b[1P", "\x1b[2G\x1b[2P", "\r\x1b[3P", "\r\x1b[999P"])),
        ("insert and delete lines", 6, csi(&["L", "M"]).prop_map(|bytes| [b"\r".to_vec(), bytes].concat()).boxed()),
        ("scroll", 5, moved(&["S", "T"])),
        ("margins", 6, margins()),
        ("origin", 4, one_of(&["\x1b[?6h", "\x1b[?6l\x1b[H"])),
        ("alternate screen", 4, select(&[ENTER, LEAVE][..]).prop_map(<[u8]>::to_vec).boxed()),
        ("wrap mode", 4, one_of(&["\x1b[?7l", "\x1b[?7h"])),
        ("insert mode", 4, one_of(&["\x1b[4h", "\x1b[4l"])),
        ("save and restore", 6, one_of(&["\x1b7", "\x1b8"])),
        ("save and restore by CSI", 3, one_of(&["\x1b[s", "\x1b[u"])),
        ("attributes", 8, one_of(&["\x1b[m", "\x1b[0m", "\x1b[1m", "\x1b[3m", "\x1b[22m", "\x1b[23m", "\x1b[1;3m"])),
        ("dim", 2, one_of(&["\x1b[2m", "\x1b[22m"])),
        ("foregrounds", 4, one_of(&["\x1b[31m", "\x1b[93m", "\x1b[39m", "\x1b[38;5;200m", "\x1b[38;2;1;2;3m"])),
        ("backgrounds", 5, one_of(&["\x1b[42m", "\x1b[104m", "\x1b[49m", "\x1b[48;5;17m", "\x1b[48;2;9;8;7m"])),
        ("underline and inverse", 5, one_of(&["\x1b[4m", "\x1b[24m", "\x1b[7m", "\x1b[27m", "\x1b[0;4;32m"])),
        (
            "attributes with colons",
            3,
            one_of(&[
                "\x1b[4:3m",
                "\x1b[4:0m",
                "\x1b[38:2:1:2:3m",
                "\x1b[48:2::9:8:7m",
                "\x1b[38:5:9m",
                "\x1b[58:2::1:2:3m",
                "\x1b[58;5;1m",
            ]),
        ),
        ("other attributes", 2, one_of(&["\x1b[5m", "\x1b[8m", "\x1b[9m", "\x1b[25m", "\x1b[28m", "\x1b[29m", "\x1b[53m"])),
        ("repeat", 4, (select(&["a", "#", "ö"][..]), count()).prop_map(|(text, n)| bytes(format!("{text}\x1b[{n}b"))).boxed()),
        ("character sets", 4, one_of(&["\x1b(0", "\x1b(B", "\x1b)0", "\x1b)B", "\x0e", "\x0f"])),
        ("alignment", 1, one_of(&["\x1b[r\x1b[?6l\x1b#8\x1b[H"])),
        ("reset", 1, one_of(&["\x1bc"])),
        ("shown cursor", 2, one_of(&["\x1b[?25l", "\x1b[?25h"])),
        ("other modes", 2, one_of(&["\x1b[?1h", "\x1b[?1l", "\x1b=", "\x1b>", "\x1b[?2004h", "\x1b[?1000h", "\x1b[?1006h"])),
        ("focus reports", 1, one_of(&["\x1b[?1004h", "\x1b[?1004l"])),
        (
            "strings",
            2,
            one_of(&["\x1b]0;t\x07", "\x1b]2;t\x1b\\", "\x1bPq#0\x1b\\", "\x1b_x\x1b\\", "\x1b^x\x1b\\", "\x1b]8;;u\x07"]),
        ),
        ("cut short", 2, one_of(&["\x1b[3\x18", "\x1b[3\x1a", "\x1b[1\x1b[2C", "\x1b]2;x\x18", "\x1b[3\n;4H"])),
        ("unknown", 2, one_of(&["\x1b[?9999h", "\x1b[>c", "\x1b[=1;2x", "\x1b[1 ~", "\x1bl", "\x1b%G", "\x1b[!w", "\x1b[<3m"])),
        ("invalid", 2, select(INVALID).prop_map(<[u8]>::to_vec).boxed()),
        ("replacement character", 1, one_of(&["\u{fffd}"])),
    ]
}

/// Fewest rows that a screen has, so that [`margins`] are on it, and most.
pub(crate) const ROWS: (u32, u32) = (6, 10);

fn acts() -> Vec<(&'static str, u32, BoxedStrategy<Act>)> {
    let rows = ("rows", 3, (ROWS.0..ROWS.1).prop_map(Act::Rows).boxed());
    features()
        .into_iter()
        .map(|(name, weight, bytes)| (name, weight, bytes.prop_map(Act::Write).boxed()))
        .chain([rows])
        .collect()
}

/// Streams of at most `ops_max` acts, of all features but those `left_out`.
pub(crate) fn streams(left_out: &[&str], ops_max: usize) -> impl Strategy<Value = Vec<Op>> + use<> {
    let kept = acts().into_iter().filter(|(name, ..)| !left_out.contains(name));
    let op = Union::new_weighted(
        kept.map(|(feature, weight, act)| (weight, act.prop_map(move |act| Op { feature, act }).boxed())).collect(),
    );
    (prop::collection::vec(op, 0..ops_max), any::<[bool; APART.len()]>()).prop_map(|(mut ops, firsts)| {
        for ((a, b, _), first) in APART.iter().zip(firsts) {
            ops.retain(|op| op.feature != if first { *a } else { *b });
        }
        balance(&mut ops);
        ops
    })
}

/// Leaves out what enters the alternate screen twice, or leaves it on the main one: see the module's head.
fn balance(ops: &mut Vec<Op>) {
    let mut alternate = false;
    ops.retain(|op| match &op.act {
        Act::Write(bytes) if bytes == ENTER || bytes == LEAVE => {
            let kept = alternate == (bytes == LEAVE);
            alternate = bytes == ENTER;
            kept
        }
        Act::Write(bytes) => {
            alternate &= bytes != b"\x1bc";
            true
        }
        Act::Rows(_) => true,
    });
}

const ENTER: &[u8] = b"\x1b[C\x1b[?1049h";
const LEAVE: &[u8] = b"\x1b[?1049l";

/// Sizes whose every row and column matters soon.
pub(crate) fn sizes() -> impl Strategy<Value = Size> {
    (4..24u32, ROWS.0..ROWS.1).prop_map(|(cols, rows)| Size::new(cols, rows).unwrap())
}

/// A table's names without its reasons.
pub(crate) fn names<'a>(table: &[(&'a str, &str)]) -> Vec<&'a str> {
    let known = acts();
    let named = table.iter().map(|(name, _)| *name);
    named.inspect(|name| assert!(known.iter().any(|(known, ..)| known == name), "no feature is called {name}")).collect()
}
