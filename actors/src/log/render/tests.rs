//! The renderer against a model of plain text, against itself cut otherwise, and from a checkpoint on.

use std::env;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mirror::Mirror;

const SMALL: (u32, u32) = (10, 4);

fn size((cols, rows): (u32, u32)) -> Size {
    Size::new(cols, rows).unwrap()
}

fn rendered(cols_rows: (u32, u32), output: &[u8]) -> Vec<Line> {
    let mut renderer = Renderer::new(size(cols_rows));
    renderer.draw(0, output);
    let mut lines = renderer.lines();
    lines.extend(renderer.finish());
    lines
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| line.text().into_owned()).collect()
}

fn text(cols_rows: (u32, u32), output: &str) -> Vec<String> {
    texts(&rendered(cols_rows, output.as_bytes()))
}

fn styled(cols_rows: (u32, u32), output: &str) -> Vec<String> {
    rendered(cols_rows, output.as_bytes()).iter().map(|line| line.styled().to_owned()).collect()
}

/// Text of one-column characters, as a screen of `cols` columns breaks it, and as it is joined again.
fn model(output: &str) -> Vec<String> {
    let mut lines: Vec<String> = output.split("\r\n").map(|line| line.trim_end_matches(' ').to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// What happens to a terminal, in pieces that begin and end between sequences.
#[derive(Debug, Clone)]
enum Happening {
    Output(Vec<u8>),
    Resize(Size),
}

fn output_with(sequences: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,25}(\r\n){0,2}".prop_map(String::into_bytes),
        2 => (1u8..8, 1u8..14).prop_map(|(r, c)| format!("\x1b[{r};{c}H").into_bytes()),
        2 => (0u8..110).prop_map(|n| format!("\x1b[{n}m").into_bytes()),
        2 => prop::sample::select(sequences).prop_map(|s| s.as_bytes().to_vec()),
    ]
}

fn happenings(output: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<Happening>> {
    let resize = (1u32..14, 1u32..8).prop_map(|sides| Happening::Resize(size(sides)));
    prop::collection::vec(prop_oneof![9 => output.prop_map(Happening::Output), 1 => resize], 0..60)
}

/// Draws what happens from `offset` on, output cut at `cuts`.
fn draw(renderer: &mut Renderer, offset: &mut u64, happenings: &[Happening], cuts: &[usize]) {
    for happening in happenings {
        match happening {
            Happening::Resize(size) => renderer.resize(*offset, *size),
            Happening::Output(bytes) => {
                let mut at = 0;
                for end in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
                    if end > at || end == bytes.len() {
                        renderer.draw(*offset, &bytes[at..end]);
                        *offset += (end - at) as u64;
                        at = end;
                    }
                }
            }
        }
    }
}

fn cases(usual: u32) -> ProptestConfig {
    ProptestConfig { cases: if env::var_os("KAVAL_SOAK").is_some() { usual * 25 } else { usual }, ..ProptestConfig::default() }
}

const ANYTHING: &[&str] = &[
    "\r",
    "\n",
    "\x1b[2J",
    "\x1b[3J",
    "\x1b[K",
    "\x1b[?1049h",
    "\x1b[?1049l",
    "\x1b[?47h",
    "\x1b[?47l",
    "é漢🦀",
    "\u{301}",
    "\x1b[3r",
    "\x1b[1;3r",
    "\x1b[2;4r",
    "\x1b[r",
    "\x1b[2S",
    "\x1b[T",
    "\x1b[M",
    "\x1b[2L",
    "\x1bM",
    "\x1bc",
    "\x1b7",
    "\x1b8",
    "\x1b[9b",
    "\x1b[?6h",
];

/// What a checkpoint carries today: no margins, saved cursors or half sequences.
const CARRIED: &[&str] =
    &["\r", "\n", "\x1b[2J", "\x1b[3J", "\x1b[K", "é漢🦀", "\x1b[2S", "\x1b[T", "\x1b[M", "\x1b[2L", "\x1bM"];

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn lines_of_plain_text_are_its_lines_whatever_the_width(lines in prop::collection::vec("[ -~é]{0,40}", 0..30), cols in 1u32..50, rows in 2u32..12) {
        let output = lines.join("\r\n");
        prop_assert_eq!(text((cols, rows), &output), model(&output));
    }

    /// The split law.
    #[test]
    fn lines_do_not_depend_on_how_the_output_was_cut(
        all in happenings(prop_oneof![9 => output_with(ANYTHING), 1 => prop::collection::vec(any::<u8>(), 0..30)]),
        cuts in prop::collection::vec(0usize..40, 0..4),
    ) {
        let (mut whole, mut cut) = (Renderer::new(size(SMALL)), Renderer::new(size(SMALL)));
        draw(&mut whole, &mut 0, &all, &[]);
        draw(&mut cut, &mut 0, &all, &cuts);
        prop_assert_eq!(whole.lines(), cut.lines());
        prop_assert_eq!(whole.finish(), cut.finish());
    }

    #[test]
    fn a_renderer_that_starts_from_a_checkpoint_gives_the_lines_that_follow_it(
        before in happenings(output_with(CARRIED)), after in happenings(output_with(CARRIED)),
    ) {
        let (mut mirror, mut whole, mut offset) = (Mirror::new(size(SMALL)), Renderer::new(size(SMALL)), 0);
        for happening in &before {
            match happening {
                Happening::Output(bytes) => prop_assume!(mirror.feed(bytes).is_ok()),
                Happening::Resize(size) => mirror.resize(*size).unwrap(),
            }
        }
        draw(&mut whole, &mut offset, &before, &[]);
        whole.lines();
        let mut later = Renderer::new(Size::DEFAULT);
        later.take(&Piece::Checkpoint { offset, time_ns: 0, data: mirror.checkpoint().into() });
        for renderer in [&mut whole, &mut later] {
            draw(renderer, &mut offset.clone(), &after, &[]);
        }
        let all = |mut renderer: Renderer| -> Vec<_> {
            let mut lines = renderer.lines();
            lines.extend(renderer.finish());
            lines.iter().map(|line| (line.text().into_owned(), line.styled().to_owned(), line.number)).collect()
        };
        let (whole, later) = (all(whole), all(later));
        prop_assert_eq!(whole, later);
    }
}

/// A flood, lines of every length and kind, with what is no plain line now and then.
fn flood() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        20 => "[ -~]{0,30}",
        2 => "[ -~]{100,1200}",
        2 => "[é漢🦀a]{0,30}",
        2 => "(\x1b\\[3[0-7]m[a-z]{0,5}){0,9}\x1b\\[m",
    ];
    let lines = (line, 1usize..200).prop_map(|(line, times)| (line + "\r\n").repeat(times).into_bytes());
    prop::collection::vec(prop_oneof![4 => lines, 1 => output_with(ANYTHING)], 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(cases(100))]

    /// Whatever the mirror leaves out of a flood, and wherever a checkpoint is taken.
    #[test]
    fn the_mirror_counts_the_lines_that_are_rendered(
        floods in prop::collection::vec((flood(), any::<bool>()), 1..5), cols in 1u32..40, rows in 1u32..8,
    ) {
        let (mut mirror, mut renderer, mut offset) = (Mirror::new(size((cols, rows))), Renderer::new(size((cols, rows))), 0);
        let mut count = 0;
        for (bytes, restored) in floods {
            prop_assume!(mirror.feed(&bytes).is_ok());
            renderer.draw(offset, &bytes);
            offset += bytes.len() as u64;
            for line in renderer.lines() {
                prop_assert_eq!(line.number, Some(count));
                count += 1;
            }
            prop_assert_eq!(mirror.tally(), renderer.tally());
            prop_assert_eq!(mirror.tally().lines, count);
            if restored {
                mirror = Mirror::restore(&mirror.checkpoint()).unwrap();
            }
        }
    }
}

#[test]
fn the_alternate_screen_leaves_no_lines_and_the_main_one_stands_behind_it() {
    let vim = format!("\x1b[?1049h\x1b[H{}\x1b[2;3Hx", "~\r\n".repeat(20));
    assert_eq!(text(SMALL, &format!("one\r\ntwo\r\n{vim}")), ["one", "two"]);
    assert_eq!(text(SMALL, &format!("one\r\ntwo\r\n{vim}\x1b[?1049lthree")), ["one", "two", "three"]);
}

#[test]
fn rows_are_saved_from_a_region_at_the_top_and_from_no_other() {
    assert_eq!(text(SMALL, "a\r\nb\r\nc\r\nd\x1b[1;2r\x1b[2H\r\n\r\nx"), ["a", "b", "", "x", "c", "d"]);
    assert_eq!(text(SMALL, "a\r\nb\r\nc\r\nd\x1b[2;4r\x1b[4H\r\n\r\nx"), ["a", "d", "", "x"]);
}

#[test]
fn what_was_erased_before_it_left_is_no_line_and_erasing_what_was_saved_takes_nothing() {
    assert_eq!(text(SMALL, "1\r\n2\r\n3\r\n4\r\n5\r\n\x1b[2J\x1b[3J\x1b[Hnew"), ["1", "2", "new"]);
    assert_eq!(text(SMALL, "1\r\n2\r\n3\r\n4\r\n5\r\n\x1bcnew"), ["1", "2", "new"]);
}

#[test]
fn wide_and_combining_characters_are_joined_without_a_gap() {
    assert_eq!(text((4, 3), "漢字漢字e\u{301}\r\n🦀"), ["漢字漢字e\u{301}", "🦀"]);
}

#[test]
fn styles_end_with_their_line_and_blanks_stay_only_where_they_show() {
    assert_eq!(styled(SMALL, "\x1b[31mred\r\nstill"), ["\x1b[31mred\x1b[m", "\x1b[31mstill\x1b[m"]);
    assert_eq!(styled((4, 3), "\x1b[1mabcdef\x1b[m g"), ["\x1b[1mabcd\x1b[m\x1b[1mef\x1b[m g"]);
    assert_eq!(styled(SMALL, "\x1b[01;31m\x1b[Kgrep\x1b[m\x1b[K   "), ["\x1b[31;1mgrep\x1b[m"]);
    assert_eq!(styled(SMALL, "a\x1b[48;5;4m  \x1b[m  "), ["a\x1b[44m  \x1b[m"]);
    assert_eq!(styled(SMALL, "a\x1b[38;5;44m  \x1b[7m "), ["a\x1b[38;5;44m  \x1b[7m \x1b[m"]);
    assert_eq!(text(SMALL, "a\x1b[48;5;4m  \x1b[m b  \x1b[7m  "), ["a   b"]);
}

#[test]
fn a_line_without_end_is_cut_and_goes_on() {
    let output = vec![b'x'; 4 * LINE_BYTES_MAX + 5];
    let lines = rendered((80, 24), &output);
    assert!(lines.len() > 3 && lines.iter().all(|line| line.styled().len() <= LINE_BYTES_MAX + 80));
    assert_eq!(lines.iter().map(|line| line.continues).collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(texts(&lines).concat().len(), output.len());
}

#[test]
fn a_line_is_placed_where_it_still_stood() {
    let mut renderer = Renderer::new(size(SMALL));
    renderer.draw(0, b"0\r\n1\r\n2\r\n3\r\n4\r\n");
    let offsets: Vec<u64> = renderer.lines().iter().map(|line| line.offset).collect();
    assert_eq!(offsets, [9, 12]);
    renderer.draw(15, &[b'x'; 5000]);
    let lines = renderer.lines();
    assert_eq!(lines.iter().map(|line| line.offset).collect::<Vec<_>>(), [15, 15, 15]);
    renderer.draw(5015, b"\r\n\r\n\r\n\r\n\r\n");
    assert_eq!(renderer.lines()[0].offset, 5021, "its last row left with the newline that begins there");
}

#[test]
fn at_a_gap_what_stood_is_given_up_and_a_checkpoint_behind_it_is_gone_on_from() {
    let mut renderer = Renderer::new(size(SMALL));
    renderer.draw(0, b"before\r\n$ ");
    renderer.take(&Piece::Gap { from: 10, to: 110, reason: GapReason::NotLogged });
    let mut mirror = Mirror::new(size((20, 2)));
    mirror.feed(b"behind").unwrap();
    let checkpoint = Piece::Checkpoint { offset: 110, time_ns: 0, data: mirror.checkpoint().into() };
    renderer.take(&checkpoint);
    renderer.take(&Piece::Output { offset: 110, time_ns: 0, data: Bytes::from_static(b" it") });
    renderer.take(&checkpoint);
    assert_eq!(texts(&renderer.lines()), ["before", "$", "[… 100 bytes not kept: not logged …]"]);
    assert_eq!(texts(&renderer.finish()), ["behind it"]);
}

/// No output is known that makes vt100 panic behind its filter, so its panic is only told of here.
#[test]
fn after_a_panic_what_stands_is_gone_on_from() {
    let mut renderer = Renderer::new(size(SMALL));
    renderer.draw(0, b"1\r\n2\r\n3\r\n4\r\n5 is ");
    renderer.recover(Err(Panicked));
    renderer.draw(17, b"last");
    assert_eq!(texts(&renderer.lines()), ["1"]);
    assert_eq!(texts(&renderer.finish()), ["2", "3", "4", "5 is last"]);
}
