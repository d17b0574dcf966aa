//! The laws of a screen over any output, and what xterm does over cases.

use proptest::prelude::*;

use super::*;

fn drawn(size: Size, pieces: &[&[u8]]) -> Mirror {
    let mut mirror = Mirror::new(size);
    for piece in pieces {
        mirror.feed(piece).unwrap();
    }
    mirror
}

fn size(cols: u32, rows: u32) -> Size {
    Size::new(cols, rows).unwrap()
}

/// What happens to a terminal.
#[derive(Debug, Clone)]
enum Step {
    Output(Vec<u8>),
    Resize(Size),
}

/// Sequences whose parameters are drawn from a few small numbers.
const FINALS: &[&str] = &[
    "@", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "P", "S", "T", "X", "Z", "`", "a", "b", "d", "e",
    "g", "m", "r", " @", " A", " q", "'}", "'~", "$v", "$x", "$z", "n", "c", "!p", "$p", "t",
];
const MODES: &[u16] = &[1, 3, 5, 6, 6, 7, 7, 25, 40, 45, 47, 66, 1000, 1003, 1006, 1047, 1048, 1049, 1049, 2004, 2026];
const WHOLE: &[&str] = &[
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\x08",
    "\t",
    "\x0b",
    "\x07",
    "\x0e",
    "\x0f",
    "\x1b6",
    "\x1b7",
    "\x1b8",
    "\x1b9",
    "\x1b[65;1;1;2;9$x",
    "\x1b[1;1;3;4;1;2;3;1$v",
    "\x1bD",
    "\x1bE",
    "\x1bM",
    "\x1bH",
    "\x1bc",
    "\x1b#8",
    "\x1b(0",
    "\x1b(B",
    "\x1b)0",
    "\x1b*A",
    "\x1bN",
    "\x1bO",
    "\x1bn",
    "\x1bo",
    "\x1b=",
    "\x1b>",
    "\x1b[4h",
    "\x1b[4l",
    "\x1b[20h",
    "\x1b[20l",
    "\x1b[s",
    "\x1b[u",
    "\x1b[44m",
    "\x1b[44m",
    "\x1b[m",
    "\x1b[1;2m",
    "\x1b[4:3;58;5;9m",
    "\x1b[38:2::1:2:3m",
    "\x1b[7;31m",
    "é漢🦀",
    "漢",
    "\u{301}",
    "\u{26a0}\u{fe0f}",
    "\u{fffd}",
    "\u{10fffe}",
    "\u{85}",
    "\u{9b}3C",
    "\x1b]2;title\x07",
    "\x1b[22t",
    "\x1b[23t",
    "\x1b]4;1;#123456;2;?\x1b\\",
    "\x1b]11;?\x07",
    "\x1b]133;A\x1b\\",
    "\x1bP$qm\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b[?1;6r",
    "\x1b[?1;6s",
    "\x1b[?5W",
];

fn output() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..12),
        6 => "[ -~]{0,24}".prop_map(String::into_bytes),
        3 => (0u8..9, 0u8..14).prop_map(|(r, c)| format!("\x1b[{r};{c}H").into_bytes()),
        4 => (prop::collection::vec(0u16..12, 0..3), prop::sample::select(FINALS)).prop_map(|(numbers, last)| {
            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
            format!("\x1b[{}{last}", numbers.join(";")).into_bytes()
        }),
        1 => (0u16..110).prop_map(|n| format!("\x1b[{n}m").into_bytes()),
        3 => (prop::sample::select(MODES), any::<bool>()).prop_map(|(mode, on)| {
            format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }).into_bytes()
        }),
        6 => prop::sample::select(WHOLE).prop_map(|s| s.as_bytes().to_vec()),
    ]
}

fn outputs(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(output(), 0..most).prop_map(|pieces| pieces.concat())
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let resize = (1u32..14, 1u32..8).prop_map(|(cols, rows)| Step::Resize(size(cols, rows)));
    // Pieces end anywhere, within sequences too.
    let cut = (output(), 0usize..9).prop_map(|(bytes, cut)| Step::Output(bytes[..bytes.len().saturating_sub(cut)].to_vec()));
    prop::collection::vec(prop_oneof![12 => output().prop_map(Step::Output), 1 => cut, 1 => resize], 0..most)
}

/// Output that shows what does not: where margins, stops and saved cursors are, which set is read from, the other screen, a wrap to come.
const PROBES: &[&str] = &[
    "X",
    "qqq",
    "\x1b[6n\x1b[?6n",
    "\x1b[?6h\x1b[Ho",
    "\x1b[99Bd\n\n",
    "\r\tt\tt\tt",
    "\x0elqk\x0f",
    "\x1b8r\x1b[6n",
    "\x1b[?1049lm",
    "\x1b[?47ha\x1b8b",
    "\x1b[3bX",
    "\x1bP$qm\x1b\\\x1bP$qr\x1b\\",
    "\x1b[23t",
    "\x1b]4;1;?\x07",
];

fn take(mirror: &mut Mirror, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Output(bytes) => mirror.feed(bytes).unwrap(),
            Step::Resize(size) => mirror.resize(*size).unwrap(),
        }
    }
}

fn cases(usual: u32) -> ProptestConfig {
    let cases = if std::env::var_os("KAVAL_SOAK").is_some() { usual * 100 } else { usual };
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1000))]

    /// The split law.
    #[test]
    fn the_screen_does_not_depend_on_how_the_stream_was_cut(
        bytes in outputs(40), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), cols in 1u32..14, rows in 1u32..8,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut whole = Mirror::new(size(cols, rows));
        let mut cut = Mirror::new(size(cols, rows));
        whole.feed(&bytes).unwrap();
        for pair in cuts.windows(2) {
            cut.feed(&bytes[pair[0]..pair[1]]).unwrap();
        }
        prop_assert_eq!(whole.view(), cut.view());
        prop_assert_eq!(whole.take_notices(), cut.take_notices());
        prop_assert_eq!(whole.checkpoint(), cut.checkpoint());
        prop_assert_eq!(whole.repaint(), cut.repaint());
    }

    /// Byte by byte nothing is passed on in runs, and every sequence is held.
    #[test]
    fn the_screen_is_the_same_byte_by_byte(bytes in outputs(30), cols in 1u32..14, rows in 1u32..8) {
        let mut whole = Mirror::new(size(cols, rows));
        let mut cut = Mirror::new(size(cols, rows));
        whole.feed(&bytes).unwrap();
        for byte in &bytes {
            cut.feed(&[*byte]).unwrap();
        }
        prop_assert_eq!(whole.view(), cut.view());
        prop_assert_eq!(whole.take_notices(), cut.take_notices());
        prop_assert_eq!(whole.checkpoint(), cut.checkpoint());
    }

    /// The checkpoint law.
    #[test]
    fn a_restored_screen_goes_on_as_the_one_it_was_taken_of(
        before in steps(30), after in steps(12), probes in prop::collection::vec(prop::sample::select(PROBES), 0..6),
        cols in 1u32..14, rows in 1u32..8,
    ) {
        let mut whole = Mirror::new(size(cols, rows));
        take(&mut whole, &before);
        whole.take_notices();
        let mut restored = Mirror::restore(&whole.checkpoint()).unwrap();
        prop_assert_eq!(whole.view(), restored.view());
        prop_assert_eq!(whole.checkpoint(), restored.checkpoint());
        for mirror in [&mut whole, &mut restored] {
            take(mirror, &after);
            probes.iter().for_each(|probe| mirror.feed(probe.as_bytes()).unwrap());
        }
        prop_assert_eq!(whole.view(), restored.view());
        prop_assert_eq!(whole.take_notices(), restored.take_notices());
        prop_assert_eq!(whole.repaint(), restored.repaint());
        prop_assert_eq!(whole.checkpoint(), restored.checkpoint());
    }

    /// A repaint is output too: it draws what it was taken of, on a terminal in any state.
    #[test]
    fn a_repaint_draws_the_same_screen_on_a_terminal_in_any_state(
        shown in outputs(30), left in outputs(15), probes in prop::collection::vec(prop::sample::select(PROBES), 0..4),
        cols in 2u32..14, rows in 2u32..8,
    ) {
        let mut mirror = drawn(size(cols, rows), &[&shown, b"\x18\x1b\\"]);
        let mut client = drawn(size(cols, rows), &[&left]);
        client.feed(&mirror.repaint()).unwrap();
        prop_assert_eq!(visible(&mirror), visible(&client));
        mirror.take_notices();
        client.take_notices();
        // A client's terminal is not told what only programs can find out, and what it has on a blank alternate screen stays there.
        let beyond = ["?47h", "23t", "]4", "3b"];
        for probe in probes.into_iter().filter(|probe| beyond.iter().all(|part| !probe.contains(part))) {
            mirror.feed(probe.as_bytes()).unwrap();
            client.feed(probe.as_bytes()).unwrap();
            prop_assert_eq!(visible(&mirror), visible(&client), "after {:?}", probe);
        }
        let told = |mirror: &mut Mirror| mirror.take_notices().into_iter().map(|notice| notice.what).collect::<Vec<_>>();
        prop_assert_eq!(told(&mut mirror), told(&mut client));
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Also to the one that did not show.
    #[test]
    fn a_repaint_draws_both_screens(shown in outputs(30), cols in 2u32..14, rows in 2u32..8) {
        let mut mirror = drawn(size(cols, rows), &[&shown, b"\x18\x1b\\"]);
        let mut client = drawn(size(cols, rows), &[&mirror.repaint()]);
        let other = if mirror.view().alternate { "\x1b[?47l" } else { "\x1b[?47h" };
        for probe in [other, "a\x1b8b"] {
            mirror.feed(probe.as_bytes()).unwrap();
            client.feed(probe.as_bytes()).unwrap();
            prop_assert_eq!(visible(&mirror), visible(&client), "after {:?}", probe);
        }
    }
}

/// What a repaint restores: a view, but blanks and spaces are one, and the styles of blanks that do not show them are none.
fn visible(mirror: &Mirror) -> ScreenView {
    let mut view = mirror.view();
    for cell in view.cells.iter_mut().flatten().filter(|cell| cell.t.is_empty() || cell.t == " ") {
        *cell = Cell { t: String::new(), bg: cell.bg.clone(), ..Cell::default() };
    }
    view
}

proptest! {
    // Each case is some 40 KB.
    #![proptest_config(cases(30))]

    /// Small pieces are drawn whole; one big one is skimmed.
    #[test]
    fn a_flood_that_is_skimmed_gives_the_screen_of_one_that_is_drawn(
        before in outputs(20), margins in prop::option::of((1u8..12, 6u8..30)),
        lines in prop::collection::vec("([ -~]{0,30}|\x1b\\[[0-9;]{0,6}m|[ -~]{70,170}){0,3}\r\n", 300..500), after in outputs(20),
    ) {
        let margins = margins.map_or(String::new(), |(top, bottom)| format!("\x1b[{top};{bottom}r"));
        let flood = lines.concat();
        let start = [&before[..], margins.as_bytes(), b"\x1b[m"].concat();
        let (mut skimmed, mut whole) = (drawn(Size::DEFAULT, &[&start]), drawn(Size::DEFAULT, &[&start]));
        flood.as_bytes().chunks(50).for_each(|piece| whole.feed(piece).unwrap());
        skimmed.feed(flood.as_bytes()).unwrap();
        for mirror in [&mut whole, &mut skimmed] {
            mirror.feed(&after).unwrap();
            mirror.resize(size(90, 200)).unwrap();
        }
        prop_assert_eq!(whole.view(), skimmed.view());
        prop_assert_eq!(whole.take_notices(), skimmed.take_notices());
        prop_assert_eq!(whole.checkpoint(), skimmed.checkpoint());
    }
}

#[test]
fn leaving_the_alternate_screen_after_a_restore_shows_the_main_one() {
    let mirror = drawn(Size::DEFAULT, &[b"$ vim\r\n", b"\x1b[?1049h\x1b[H~ a file"]);
    let mut restored = Mirror::restore(&mirror.checkpoint()).unwrap();
    assert_eq!(restored.text(), "~ a file\n");
    restored.feed(b"\x1b[?1049l").unwrap();
    assert_eq!(restored.text(), "$ vim\n");
}

/// A repaint of an older version, as its checkpoints were.
#[test]
fn checkpoints_of_earlier_versions_still_restore() {
    let old =
        [&encode_size(Size::DEFAULT)[..], b"\x18\x1b[?1049l\x1b[m\x1b[H\x1b[J$ vim\x1b[?1049h\x1b[H\x1b[J~\x1b]2;vim\x1b\\"]
            .concat();
    let mut restored = Mirror::restore(&old).unwrap();
    assert_eq!((restored.text().as_str(), restored.title()), ("~\n", "vim"));
    restored.feed(b"\x1b[?1049l").unwrap();
    assert_eq!(restored.text(), "$ vim\n");
}

/// What made vt100 0.18 panic before there was a filter.
#[test]
fn an_emoji_in_the_last_column_is_drawn() {
    let mut mirror = Mirror::new(Size::DEFAULT);
    let script = "\x1b[24;80H\u{26a0}\u{fe0f}\x1b[23;80HX\u{26a0}\n\n\x1b[23;80H\u{26a0}\u{fe0f}\x1b[23;80HX";
    (0..4).for_each(|_| mirror.feed(script.as_bytes()).unwrap());
    assert_eq!(mirror.view().cells[22][79].t, "X");
}

#[test]
fn text_keeps_inner_blank_rows_and_drops_trailing_ones() {
    assert_eq!(drawn(Size::DEFAULT, &[b"a  \r\n\r\nb"]).text(), "a\n\nb\n");
    assert_eq!(Mirror::new(Size::DEFAULT).text(), "");
}

#[test]
fn bytes_that_are_no_checkpoint_are_refused() {
    let good = drawn(Size::DEFAULT, &[b"text"]).checkpoint();
    let cut = &good[..good.len() / 2];
    let other_version = [&good[..4], &[good[4] + 1], &good[5..]].concat();
    for bad in [&b""[..], b"abc", b"\0\0\0\0x", b"\xff\xff\xff\xff", &good[..9], &other_version] {
        assert!(Mirror::restore(bad).is_err(), "{bad:?}");
    }
    assert!(Mirror::restore(cut).is_ok_and(|mirror| mirror.text().is_empty()) || Mirror::restore(cut).is_err());
}

/// `(cols, rows)`, output, what stands then, the cursor's row and column.
type Drawn = ((u32, u32), &'static str, &'static str, (u16, u16));

/// What xterm draws, case by case.
const CASES: &[Drawn] = &[
    // The end of a row.
    ((5, 3), "abcde", "abcde\n", (0, 4)),
    ((5, 3), "abcdefg", "abcde\nfg\n", (1, 2)),
    ((5, 3), "abcde\x08X", "abcXe\n", (0, 4)),
    ((5, 3), "abcde\nX", "abcde\n    X\n", (1, 4)),
    ((5, 3), "abcde\x1b[DX", "abcXe\n", (0, 4)),
    ((5, 3), "abcde\x1b[KX", "abcde\nX\n", (1, 1)),
    ((5, 3), "abcde\x1b[X", "abcd\n", (0, 4)),
    ((5, 3), "abcde\x1b[P", "abcd\n", (0, 4)),
    ((5, 3), "abcde\x1b[JX", "abcdX\n", (0, 4)),
    ((5, 3), "abcde\x1b[@X", "abcdX\n", (0, 4)),
    ((5, 3), "abcde\x1b7\x1b[H\x1b8X", "abcde\nX\n", (1, 1)),
    ((5, 3), "abcde\x1b[?47hX", "\nX\n", (1, 1)),
    ((5, 3), "\x1b[?7labcdefg", "abcdg\n", (0, 4)),
    ((5, 3), "abcde\x1b[AX", "abcdX\n", (0, 4)),
    // Scrolling.
    ((5, 3), "a\r\nb\r\nc\x1bD\x1bEd", "c\n\nd\n", (2, 1)),
    ((5, 3), "a\x1bMb", "\u{20}b\na\n", (0, 2)),
    ((5, 4), "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3H\nX", "a\nc\nX\nd\n", (2, 1)),
    ((5, 4), "a\r\nb\x1b[3;4r\x1b[H\x1bMX", "X\nb\n", (0, 1)),
    ((5, 4), "\x1b[2;3r\x1b[4H\x1b[9AX", "\nX\n", (1, 1)),
    ((5, 4), "\x1b[2;3r\x1b[?6hX\x1b[9;9HY", "\nX\n    Y\n", (2, 4)),
    ((5, 2), "abc\r\ndef\x1b[ @", "bc\nef\n", (1, 3)),
    ((5, 2), "abc\r\ndef\x1b[2 A", "  abc\n  def\n", (1, 3)),
    ((5, 2), "abc\r\ndef\x1b[1;2H\x1b['}", "a bc\nd ef\n", (0, 1)),
    ((5, 2), "abc\r\ndef\x1b[1;2H\x1b['~", "ac\ndf\n", (0, 1)),
    ((5, 3), "ab\r\ncd\x1b[LX", "ab\nX\ncd\n", (1, 1)),
    ((5, 3), "ab\r\ncd\x1b[A\x1b[MX", "Xd\n", (0, 1)),
    ((5, 3), "ab\x1b[2;3r\x1b[1;2H\x1b[LX", "aX\n", (0, 2)),
    ((5, 2), "abc\r\nde\x1b6X\r\x1b6Y", " abc\nYdX\n", (1, 1)),
    ((5, 2), "abcd\r\nefgh\x1b9\x1b9X", "cd\ngh  X\n", (1, 4)),
    ((5, 2), "abcde\x1b9X", "bcde\nX\n", (1, 1)),
    ((5, 2), "abcde\x1b[1'}X", "abcd\nX\n", (1, 1)),
    ((5, 2), "abcde\x1b[2 @X", "cde\nX\n", (1, 1)),
    ((5, 3), "abcd\x1b[2;3r\x1b6\r\x1b6X\x1b[1;5H\x1b9\x1b9Y", "XbcdY\n", (0, 4)),
    // Rectangles.
    ((5, 3), "abcde\x1b[35;1;2;2;4$xX", "a###e\nX###\n", (1, 1)),
    ((5, 3), "ab\x1b[35;2;4$xX\x1b[7;1;1;1;1$x\x1b[35;3;1;2;1$x", "abX\n   ##\n   ##\n", (0, 3)),
    ((5, 3), "\x1b[2;3r\x1b[?6h\x1b[35;1;1;1;2$x", "\n##\n", (1, 0)),
    ((5, 2), "abcde\r\nfghij\x1b[1;2;2;3$z", "a  de\nf  ij\n", (1, 4)),
    ((5, 3), "abc\r\ndef\x1b[1;1;2;2;1;2;2;1$v", "abc\ndab\n de\n", (1, 3)),
    ((5, 2), "abc\x1b[1;1;1;3;1;2;4$vX", "abcX\n   ab\n", (0, 4)),
    ((6, 2), "漢字x\x1b[1;2;1;5;1;2;1;1$v", "漢字x\n 字x\n", (0, 5)),
    // Modes.
    ((5, 3), "\x1b[1;2r\x1b[3;1Habcde\x1b[4hX", "\n\nXabcd\n", (2, 1)),
    ((5, 2), "abc\x1b[H\x1b[4hXY", "XYabc\n", (0, 2)),
    ((5, 2), "abc\x1b[H\x1b[4h漢", "漢abc\n", (0, 2)),
    ((5, 2), "\x1b[20hab\nc", "ab\nc\n", (1, 1)),
    ((5, 2), "\x1b[?45hab\r\nc\x08\x08X", "ab  X\nc\n", (0, 4)),
    // Tabs.
    ((20, 2), "\ta\tb", "        a       b\n", (0, 17)),
    ((20, 2), "\x1b[3g\x1b[4G\x1bH\r\tx\ty", "   x               y\n", (0, 19)),
    ((20, 2), "\x1b[2Ia\x1b[2Zb", "        b       a\n", (0, 9)),
    ((5, 2), "abcde\tX", "abcde\nX\n", (1, 1)),
    // Character sets.
    ((9, 2), "\x1b(0lqk\x1b(Blqk", "┌─┐lqk\n", (0, 6)),
    ((9, 2), "\x1b)0a\x0eq\x0fq", "a─q\n", (0, 3)),
    ((9, 2), "\x1b*0\x1bNqq\x1b(A#", "─q£\n", (0, 3)),
    // What is no character, and no parameter.
    ((9, 2), "a\x1b[1:4Cb\x1b[:2Dc", "abc\n", (0, 3)),
    ((9, 2), "a\u{fffd}b", "a\u{fffd}b\n", (0, 3)),
    ((9, 2), "a\u{9b}3Cb\u{85}c", "a   b\nc\n", (1, 1)),
    // Repeats, fills, resets.
    ((5, 2), "ab\x1b[3b", "abbbb\n", (0, 4)),
    // REP repeats what stands right before it, and no other REP.
    ((9, 2), "ab\x1b[mc\x1b[b\x1b[3b", "abcc\n", (0, 4)),
    ((9, 2), "ab\x1b[m\x1b[3b\x1b[1;5Hx", "ab  x\n", (0, 5)),
    ((9, 2), "ab\r\x1b[3b", "ab\n", (0, 0)),
    ((9, 2), "ab\x07\x1b[3bc", "abc\n", (0, 3)),
    ((9, 2), "ab\x1b]2;t\x07\x1b[3bc", "abc\n", (0, 3)),
    ((9, 2), "a\u{301}\x1b[2b", "a\u{301}aa\n", (0, 3)),
    ((3, 2), "\x1b[2;2H\x1b#8", "EEE\nEEE\n", (0, 0)),
    ((5, 3), "\x1b[2;3r\x1b[?6h\x1b[4hab\x1b[!p\x1b[Hx\x1b[9Bb", "x\nab\n b\n", (2, 2)),
    ((5, 2), "ab\x1bcc", "c\n", (0, 1)),
    ((5, 2), "\x1b[?3h\x1b[?3lab\x1b[?40h\x1b[?3hc", "c\n", (0, 1)),
    // Screens.
    ((5, 2), "ab\x1b[?1049hc", "  c\n", (0, 3)),
    ((5, 2), "ab\x1b[?1049hc\x1b[?1049ld", "abd\n", (0, 3)),
    ((5, 2), "ab\x1b[?47hc\x1b[?47ld\x1b[?47h", "  c\n", (0, 4)),
    ((5, 2), "ab\x1b[?1047hc\x1b[?1047l\x1b[?47h", "", (0, 3)),
    // Wide characters.
    ((5, 2), "abcd漢", "abcd\n漢\n", (1, 2)),
    ((5, 2), "漢字\x1b[2GX", " X字\n", (0, 2)),
    ((5, 2), "漢字\x1b[2G\x1b[@X", " X 字\n", (0, 2)),
    ((5, 2), "漢字\x1b[4G\x1b[P", "漢\n", (0, 3)),
    ((5, 2), "漢字\x1b[2G\x1b[K", "", (0, 1)),
    ((5, 2), "漢字\x1b[3G\x1b[1K", "", (0, 2)),
    ((5, 2), "漢字\x1b[2G\x1b[X", "  字\n", (0, 1)),
];

#[test]
fn xterm_draws_it_so() {
    for &((cols, rows), output, text, cursor) in CASES {
        let view = drawn(size(cols, rows), &[output.as_bytes()]);
        let at = (view.view().cursor.row, view.view().cursor.col);
        assert_eq!((view.text().as_str(), at), (text, cursor), "{output:?}");
    }
}

#[test]
fn bytes_that_are_no_utf8_take_a_cell_each() {
    let mirror = drawn(size(9, 2), &[b"a\xffb\x80\xe6\xbcc\xe6", b"\x1b[m\xf0\x9f"]);
    assert_eq!(mirror.text(), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\n");
}

#[test]
fn rows_that_scroll_in_and_cells_that_are_erased_have_the_background_and_no_more() {
    let blank = Cell { bg: Some(CellColor::Index(4)), ..Cell::default() };
    for output in
        ["\x1b[2;1H\x1b[4;7;31;44m\n", "\x1b[4;44m\x1b[2J\x1b[2H", "\x1b[2Habcde\x1b[44m\x1b[S", "\x1b[H\x1b[44m\x1b[L\x1b[S"]
    {
        let view = drawn(size(5, 2), &[output.as_bytes()]).view();
        assert!(view.cells[1].iter().all(|cell| *cell == blank), "{output:?} {:?}", view.cells[1]);
    }
    let view = drawn(size(5, 2), &[b"\x1b[2Habcde\x1b[44mfg"]).view();
    assert_eq!((&view.lines[1][..], &view.cells[1][2]), ("fg", &blank));
    let view = drawn(size(5, 2), &[b"abc\x1b[H\x1b[44m\x1b[P\x1b[@"]).view();
    assert_eq!([&view.cells[0][0], &view.cells[0][4]], [&blank, &Cell::default()]);
}

#[test]
fn what_is_asked_is_answered_at_its_place() {
    let asked = |output: &str| -> Vec<(u64, String)> {
        let mut mirror = drawn(size(80, 24), &[output.as_bytes()]);
        let notices = mirror.take_notices().into_iter();
        notices
            .filter_map(|notice| match notice.what {
                What::Query(reply) => Some((notice.at, String::from_utf8(reply).unwrap())),
                What::Bell | What::Told(_) => None,
            })
            .collect()
    };
    for (output, reply) in [
        ("\x1b[c", "\x1b[?62;22c"),
        ("\x1b[5n", "\x1b[0n"),
        ("\x1b[3;4H\x1b[6n", "\x1b[3;4R"),
        ("\x1b[2;5r\x1b[?6h\x1b[2;3H\x1b[?6n", "\x1b[?2;3;1R"),
        ("\x1b[?25l\x1b[?25$p", "\x1b[?25;2$y"),
        ("\x1b[?4711$p", "\x1b[?4711;0$y"),
        ("\x1b[4h\x1b[4$p", "\x1b[4;1$y"),
        ("\x1b[1;38;5;99m\x1bP$qm\x1b\\", "\x1bP1$r0;1;38;5;99m\x1b\\"),
        ("\x1b[3;9r\x1bP$qr\x1b\\", "\x1bP1$r3;9r\x1b\\"),
        ("\x1b[4 q\x1bP$q q\x1b\\", "\x1bP1$r4 q\x1b\\"),
        ("\x1bP$qx\x1b\\", "\x1bP0$r\x1b\\"),
        ("\x1bP+q436f;zz\x1b\\", "\x1bP1+r436f=323536\x1b\\\x1bP0+rzz\x1b\\"),
        ("\x1b]11;?\x07", "\x1b]11;rgb:0000/0000/0000\x1b\\"),
        ("\x1b]4;1;rgb:12/34/56\x07\x1b]4;1;?\x07", "\x1b]4;1;rgb:1212/3434/5656\x1b\\"),
        ("\x1b[18t", "\x1b[8;24;80t"),
    ] {
        assert_eq!(asked(output), [(output.len() as u64, reply.to_owned())], "{output:?}");
    }
    assert!(asked("\x1b[?u\x1b[22t\x1b[1c\x1b]4;1;red\x07").is_empty());
}

#[test]
fn what_is_told_is_told_at_its_place_also_of_a_skimmed_flood() {
    let mut mirror = Mirror::new(Size::DEFAULT);
    let flood = "line\r\n".repeat(1000);
    let told = "\x07\x1b]7;file:///\x1b\\\x1b]2;title\x07";
    mirror.feed(b"\x1b]13").unwrap();
    mirror.feed(format!("3;C\x07{flood}{told}").as_bytes()).unwrap();
    let behind = 4 + 4 + flood.len() as u64;
    let notices: Vec<_> = mirror.take_notices().into_iter().map(|notice| (notice.at, notice.what)).collect();
    let started = What::Told(Told::CommandStarted { line: None });
    assert_eq!(notices, [(8, started), (behind + 1, What::Bell), (behind + 15, What::Told(Told::Cwd("/".into())))]);
    assert_eq!(mirror.title(), "title");
    mirror.feed(b"\x07").unwrap();
    assert_eq!(mirror.take_notices(), [Notice { at: 1, what: What::Bell }]);
}

#[test]
fn of_too_many_notices_the_questions_stay() {
    let mut asked = Mirror::new(Size::DEFAULT);
    asked.feed(&b"\x1bZ".repeat(QUESTIONS_MAX)).unwrap();
    assert_eq!(asked.take_notices().len(), QUESTIONS_MAX);
    let mut mirror = Mirror::new(Size::DEFAULT);
    mirror.feed(&[7; NOTICES_MAX + 5]).unwrap();
    mirror.feed(b"\x1b[c").unwrap();
    let notices = mirror.take_notices();
    assert_eq!(notices.len(), NOTICES_MAX + 1);
    assert!(matches!(notices.last(), Some(Notice { what: What::Query(_), .. })));
}

#[test]
fn a_checkpoint_of_an_ordinary_screen_is_small() {
    let row = "\x1b[32mdrwxr-xr-x\x1b[m 2 user group  4096 Nov 22 23:15 \x1b[1;34mdirectory-name\x1b[m and more of it\r\n";
    let vim = format!("\x1b[?1049h\x1b[H{}", row.repeat(24));
    let checkpoint = drawn(Size::DEFAULT, &[row.repeat(30).as_bytes(), vim.as_bytes()]).checkpoint();
    let compressed = zstd::bulk::compress(&checkpoint, 1).unwrap();
    assert!(compressed.len() <= 4096, "{} bytes, {} compressed", checkpoint.len(), compressed.len());
}

/// What a random test found.
#[test]
fn a_main_screen_without_a_saved_cursor_comes_back_from_a_hidden_alternate_one() {
    let mut mirror = drawn(size(9, 2), &[b"\x1b[?47h \x1b[?47l", b"\x18\x1b\\"]);
    let mut client = drawn(size(9, 2), &[]);
    client.feed(&mirror.repaint()).unwrap();
    assert_eq!(visible(&mirror), visible(&client));
    for mirror in [&mut mirror, &mut client] {
        mirror.feed(b"\x1b8r").unwrap();
    }
    assert_eq!(visible(&mirror), visible(&client));
}
