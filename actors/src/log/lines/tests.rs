//! Lines read back from a log, by every path, against what rendering everything from the start gives.

use proptest::prelude::*;

use super::*;
use crate::{
    TermId,
    log::{
        reader::Reader,
        recount,
        retention::Limits,
        search::{Pattern, Search},
        store::StoreError,
        tests::{UNLIMITED, World},
    },
    mirror::{LINE_BYTES_MAX, Mirror},
};

const ID: TermId = TermId(0);

impl Source for Reader {
    type Error = StoreError;

    fn page(&mut self, start: PageStart, to: u64, bytes_max: usize) -> Result<Page, StoreError> {
        Ok(Reader::page(self, start, to, bytes_max)?.unwrap_or_default())
    }

    fn anchor(&mut self, seek: Seek) -> Result<Option<Anchor>, StoreError> {
        Reader::anchor(self, seek)
    }
}

/// A terminal as its actor has it, and all that it ever put out, rendered from the start.
struct Stage {
    world: World,
    mirror: Mirror,
    model: Renderer,
    left: Vec<Line>,
    /// How many lines had left at an offset, now and then.
    marks: Vec<(u64, u64)>,
    end: u64,
    /// Numbers whose lines nobody can know for sure: about a gap.
    unsure: Vec<std::ops::Range<u64>>,
    in_gap: Option<u64>,
    gap_end: u64,
    /// Where the first screen behind the newest gap was taken.
    known_at: u64,
}

impl Stage {
    fn new(size: Size) -> Self {
        let mut world = World::new();
        world.set_size(ID, size);
        let model = Renderer::new(size);
        let (left, marks, unsure) = (Vec::new(), vec![(0, 0)], Vec::new());
        Self {
            world,
            mirror: Mirror::new(size),
            model,
            left,
            marks,
            end: 0,
            unsure,
            in_gap: None,
            gap_end: u64::MAX,
            known_at: u64::MAX,
        }
    }

    fn draw(&mut self, bytes: &[u8]) {
        self.mirror.feed(bytes).unwrap();
        self.model.draw(self.end, bytes);
        self.end += bytes.len() as u64;
        self.left.extend(self.model.lines());
        self.marks.push((self.end, self.left.len() as u64));
    }

    fn output(&mut self, bytes: &[u8]) {
        self.world.output(ID, bytes);
        self.draw(bytes);
    }

    fn resize(&mut self, size: Size) {
        self.world.set_size(ID, size);
        let before = self.left.len() as u64;
        self.mirror.resize(size).unwrap();
        self.model.resize(self.end, size);
        self.left.extend(self.model.lines());
        self.marks.push((self.end, self.left.len() as u64));
        if self.end == self.gap_end || self.end == self.known_at {
            // Of several screens at one offset the last is gone on from, and nothing is before it.
            self.unsure.push(before..self.left.len() as u64 + 1);
        }
    }

    fn checkpoint(&mut self) {
        self.world.journal.checkpoint(ID, &self.mirror.checkpoint()).unwrap();
        if let Some(from) = self.in_gap.take() {
            self.unsure.push(from..self.left.len() as u64 + 1);
            self.known_at = self.end;
        }
    }

    /// The log loses so much output, which the terminal showed.
    fn lose(&mut self, bytes: &[u8]) {
        self.world.writer.pass_or_fail();
        self.in_gap.get_or_insert(self.left.len() as u64);
        self.draw(bytes);
        self.gap_end = self.end;
        self.world.begin_anew(ID, self.end);
    }

    /// Killed and started again: the screen is rebuilt from what it was.
    fn crash(&mut self) {
        self.world.crash();
        self.world.journal.begin(ID, self.end);
        self.mirror = Mirror::restore(&self.mirror.checkpoint()).unwrap();
    }

    fn evict(&mut self, term_bytes_max: u64) {
        self.world.writer.settings.limits = Limits { term_bytes_max, ..UNLIMITED };
        self.world.writer.pass_or_fail();
        self.world.writer.settings.limits = UNLIMITED;
        self.doubt_the_beginning();
    }

    /// Where no screen is known at the floor, what stood there is not, nor what it made of what came up to the next one.
    fn doubt_the_beginning(&mut self) {
        let mut reader = self.reader();
        let Some(Page { floor, .. }) = Reader::page(&reader, PageStart::Offset(0), 0, 0).unwrap() else { return };
        let first = Source::anchor(&mut reader, Seek::After(floor)).unwrap();
        match first {
            Some(Anchor { offset, .. }) if floor == 0 || offset == floor => {}
            Some(Anchor { line, .. }) => self.unsure.push(0..line + 1),
            None if floor == 0 => {}
            None => self.in_gap = Some(0),
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(&self.world.store, ID)
    }

    fn is_unsure(&self, number: u64) -> bool {
        self.in_gap.is_some_and(|from| number >= from) || self.unsure.iter().any(|unsure| unsure.contains(&number))
    }

    /// What stands on the screen comes last.
    fn expected(&self) -> Vec<String> {
        let mut model = Renderer::new(self.model.size());
        let data = self.mirror.checkpoint().into();
        model.take(&Piece::Checkpoint { offset: self.end, time_ns: 0, data });
        self.left.iter().chain(&model.finish()).map(|line| line.styled().to_owned()).collect()
    }

    fn ask(&self, at: At, backwards: bool, lines: u64) -> Lines {
        let ask = Ask { at, backwards, lines, bytes: 1 << 20, until: None, frames: false };
        page(&mut self.reader(), ask).unwrap()
    }

    /// All pages one way, in order.
    fn pages(&self, backwards: bool, lines: u64) -> Vec<Line> {
        let (mut all, mut at) = (Vec::new(), if backwards { At::End } else { At::Line(0) });
        loop {
            let page = self.ask(at, backwards, lines);
            let lines = page.items.iter().filter_map(|item| match item {
                Item::Line(line) | Item::Standing(line) => Some(line.clone()),
                Item::Frame(_) | Item::Note { .. } => None,
            });
            let next = if backwards {
                all.splice(0..0, lines);
                page.before
            } else {
                all.extend(lines);
                page.after
            };
            match next {
                Some(next) => {
                    assert!(at != At::Line(next), "a page at {next} does not get on");
                    at = At::Line(next);
                }
                None => return all,
            }
        }
    }

    /// Holds every way of reading against the model; `floor` is the first line that must be there.
    fn check(&mut self, page_lines: u64, is_evicted: bool) {
        self.world.writer.pass_or_fail();
        assert!(self.world.writer.fault.is_none());
        let expected = self.expected();
        // Where everything was removed, the last screen with it, the disk knows no number any more; a terminal's journal does.
        if is_evicted && self.reader().anchor(Seek::Offset(u64::MAX)).unwrap().is_none() {
            return;
        }
        let forwards = self.pages(false, page_lines);
        let given = |lines: &[Line]| lines.iter().map(|line| (line.number, line.styled().to_owned())).collect::<Vec<_>>();
        assert_eq!(given(&forwards), given(&self.pages(true, page_lines)), "both ways give the same");
        self.check_search(&forwards, page_lines);
        let numbers: Vec<u64> = forwards.iter().filter_map(|line| line.number).collect();
        assert_eq!(numbers.len(), forwards.len());
        assert!(numbers.is_sorted_by(|a, b| a < b), "each line once, in order: {numbers:?}");
        for line in &forwards {
            let number = line.number.unwrap();
            if !self.is_unsure(number) {
                assert_eq!(expected.get(number as usize).map(String::as_str), Some(line.styled()), "line {number}");
            }
        }
        let first = if is_evicted { numbers.first().copied().unwrap_or(expected.len() as u64) } else { 0 };
        let missing: Vec<u64> =
            (first..expected.len() as u64).filter(|n| !self.is_unsure(*n) && !numbers.contains(n)).collect();
        assert!(missing.is_empty(), "{missing:?} of {} lines are missing, the first is {first}", expected.len());
        if self.in_gap.is_none() {
            assert_eq!(end(&mut self.reader(), None).unwrap(), expected.len() as u64);
            self.check_offsets(first);
        }
        self.check_times();
    }

    /// A search, resumed now and then, finds of all lines those that match.
    fn check_search(&self, lines: &[Line], max: u64) {
        for pattern in ["", "[aeiou] ", "e.*1$", "zz"] {
            let pattern = std::sync::Arc::new(Pattern::new(pattern, false, false).unwrap());
            let expected = lines.iter().rev().filter(|line| !pattern.spans(&line.text()).is_empty());
            let expected: Vec<_> = expected.map(|line| (line.number.unwrap(), line.text().into_owned())).collect();
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let mut search = Search::new(pattern.clone(), self.end, before);
                for _ in 0..3 {
                    let matches = search.turn(&mut self.reader(), max as usize).unwrap();
                    found.extend(matches.into_iter().map(|found| (found.number, found.text)));
                }
                before = search.before();
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected);
        }
    }

    fn check_offsets(&self, first: u64) {
        // What leaves by a resize follows on the output before it.
        let marks = self.marks.chunk_by(|a, b| a.0 == b.0).map(|same| same[0]);
        for (offset, left) in marks.filter(|(_, left)| *left > first && !self.is_unsure(*left)) {
            assert_eq!(lines_before(&mut self.reader(), offset).unwrap(), left, "lines before {offset}");
            let page = self.ask(At::Offset(offset), false, 1);
            if let Some(Item::Line(line)) = page.items.first() {
                assert_eq!(line.number, Some(left));
            }
        }
    }

    fn check_times(&self) {
        let all = self.reader().page(PageStart::Offset(0), u64::MAX, usize::MAX).unwrap().unwrap_or_default();
        let came = |piece: &Piece| match piece {
            Piece::Output { offset, time_ns, .. } => Some((*offset, *time_ns)),
            Piece::Resize { .. } | Piece::Checkpoint { .. } | Piece::Gap { .. } => None,
        };
        let came: Vec<_> = all.pieces.iter().filter_map(came).collect();
        for time_ns in came.iter().flat_map(|(_, time_ns)| [time_ns - 1, *time_ns, time_ns + 1]) {
            let found = self.reader().at_time(time_ns).unwrap();
            // A block keeps times to a microsecond, that of its first byte but for.
            let is_early =
                |(offset, came_ns): &(u64, u64)| found.is_none_or(|found| *offset < found) && *came_ns >= time_ns + 1000;
            assert!(!came.iter().any(is_early), "{time_ns}: {found:?} is not the first");
            assert!(came.iter().all(|(offset, came_ns)| Some(*offset) != found || came_ns + 1000 > time_ns));
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Output(Vec<u8>),
    Resize(Size),
    Checkpoint,
    Pass,
    Crash,
    Evict(u64),
    Lose(Vec<u8>),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => ("[ -~]{0,30}", 1usize..60).prop_map(|(line, times)| (line + "\r\n").repeat(times).into_bytes()),
        2 => "[ -~é漢]{0,90}".prop_map(String::into_bytes),
        1 => (1u8..9, 1u8..20).prop_map(|(row, col)| format!("\x1b[{row};{col}H").into_bytes()),
        1 => prop::sample::select(&["\x1b[2J", "\x1b[3J", "\x1b[2;4r", "\x1b[r", "\x1b[?1049h", "\x1b[?1049l", "\x1bc", "\x1b[2S", "\x1b[K"][..])
            .prop_map(|sequence| sequence.as_bytes().to_vec()),
    ]
}

fn plain() -> impl Strategy<Value = Vec<u8>> {
    ("[a-z]{1,8}", 1usize..40).prop_map(|(line, times)| (line + "\r\n").repeat(times).into_bytes())
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => text().prop_map(Act::Output),
        1 => (1u32..40, 1u32..9).prop_map(|(cols, rows)| Act::Resize(Size::new(cols, rows).unwrap())),
        3 => Just(Act::Checkpoint),
        2 => Just(Act::Pass),
        1 => Just(Act::Crash),
        1 => (0u64..4000).prop_map(Act::Evict),
        1 => plain().prop_map(Act::Lose),
    ]
}

fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("KAVAL_SOAK").is_some() { 2000 } else { 50 };
    ProptestConfig { cases, max_shrink_iters: 300, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_line_is_read_once_by_every_path_whatever_happened(acts in prop::collection::vec(act(), 1..40), page_lines in 1u64..30) {
        let mut stage = Stage::new(Size::new(20, 5).unwrap());
        let mut is_evicted = false;
        for act in acts {
            match act {
                Act::Output(bytes) => stage.output(&bytes),
                Act::Resize(size) => stage.resize(size),
                Act::Checkpoint => stage.checkpoint(),
                Act::Pass => stage.check(page_lines, is_evicted),
                Act::Crash => stage.crash(),
                Act::Evict(bytes) => {
                    stage.evict(bytes);
                    is_evicted = true;
                }
                Act::Lose(bytes) => stage.lose(&bytes),
            }
        }
        stage.check(page_lines, is_evicted);
    }
}

fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.map(|number| format!("line {number}\r\n")).collect::<String>().into_bytes()
}

fn texts(page: &Lines) -> Vec<String> {
    let text = |item: &Item| match item {
        Item::Line(line) | Item::Standing(line) => line.text().into_owned(),
        Item::Frame(frame) => format!("frame {}: {}", frame.number, frame.styled.replace('\n', "|")),
        Item::Note { from, to, reason } => reason.note(*from, *to),
    };
    page.items.iter().map(text).collect()
}

#[test]
fn lines_keep_their_numbers_when_what_was_before_them_is_removed() {
    let mut stage = Stage::new(Size::new(20, 5).unwrap());
    for part in 0..40 {
        stage.output(&lines(part * 1000..(part + 1) * 1000));
        stage.checkpoint();
        stage.world.writer.pass_or_fail();
    }
    assert_eq!(texts(&stage.ask(At::Line(12_345), false, 2)), ["line 12345", "line 12346"]);
    stage.evict(20_000);
    let page = stage.ask(At::Line(39_000), false, 1);
    assert_eq!(texts(&page), ["line 39000"]);
    let first = stage.ask(At::Line(0), false, 1);
    assert!(first.before.is_none() && texts(&first)[0].ends_with(" bytes not kept: evicted …]"), "{first:?}");
    stage.check(700, true);
}

#[test]
fn numbers_of_a_version_that_did_not_count_are_found_once_and_gone_on_from() {
    let size = Size::new(20, 5).unwrap();
    let mut stage = Stage::new(size);
    for part in 0..8 {
        stage.output(&lines(part * 100..(part + 1) * 100));
        // As it was spelt before anybody counted.
        let uncounted = stage.mirror.checkpoint();
        let tally = memchr::memmem::find(&uncounted, b"\x1b_L").unwrap();
        let behind = tally + memchr::memmem::find(&uncounted[tally..], b"\x1b\\").unwrap() + 2;
        let uncounted = [&uncounted[..tally], &uncounted[behind..]].concat();
        stage.world.journal.checkpoint(ID, &uncounted).unwrap();
        stage.mirror = Mirror::restore(&uncounted).unwrap();
        stage.mirror.count_from(stage.end);
    }
    stage.output(&lines(800..900));
    stage.checkpoint();
    stage.world.writer.pass_or_fail();
    assert!(stage.reader().anchor(Seek::Line(500)).unwrap().is_none());
    stage.world.count_lines(ID);
    assert_eq!(recount::turn(&stage.reader()).unwrap(), None, "it is counted once");
    let anchor = stage.reader().anchor(Seek::Line(500)).unwrap().unwrap();
    assert_eq!(anchor.line, 496);
    // What is counted from then on has numbers at once, also once what was counted is gone.
    stage.evict(0);
    stage.output(&lines(900..1000));
    stage.checkpoint();
    stage.world.writer.pass_or_fail();
    assert_eq!(recount::turn(&stage.reader()).unwrap(), None);
    assert_eq!(stage.reader().anchor(Seek::Line(u64::MAX)).unwrap().unwrap().line, 996);
    stage.check(30, true);
}

#[test]
fn full_screen_stretches_are_frames_between_lines_or_left_out() {
    let mut stage = Stage::new(Size::new(20, 4).unwrap());
    stage.output(b"one\r\ntwo\r\n\x1b[?1049h\x1b[Hold\x1b[H\x1b[2Jvi\x1b[2;1H~\x1b[?1049l");
    stage.checkpoint();
    stage.output(&lines(0..5));
    stage.output(b"\x1b[?1049h\x1b[2;3Hopen");
    stage.world.writer.pass_or_fail();
    let frames = |at, backwards, lines| {
        let ask = Ask { at, backwards, lines, bytes: 1 << 20, until: None, frames: true };
        texts(&page(&mut stage.reader(), ask).unwrap())
    };
    let all = ["frame 0: vi|~", "one", "two", "line 0", "line 1", "line 2", "line 3", "line 4", "frame 7: |  open"];
    assert_eq!(frames(At::Line(0), false, 100), all);
    assert_eq!(frames(At::End, true, 100), all);
    assert_eq!(frames(At::Line(0), false, 1), all[..2]);
    assert_eq!(frames(At::Line(1), false, 1), all[2..3]);
    assert_eq!(frames(At::End, true, 2), all[6..]);
    assert_eq!(texts(&stage.ask(At::Line(0), false, 100)), all[1..8]);
}

/// Some full-screen program that runs for days, a progress bar, and a line without end.
#[test]
fn output_without_lines_is_leapt_over_and_a_line_without_end_is_cut() {
    let mut stage = Stage::new(Size::new(80, 24).unwrap());
    stage.output(&lines(0..100));
    let busy = b"\x1b[Hworking on it\x1b[K\r".repeat(6000);
    for _ in 0..100 {
        stage.output(&busy);
        stage.checkpoint();
        stage.world.writer.pass_or_fail();
    }
    stage.output(&lines(100..200));
    stage.world.writer.pass_or_fail();
    let mut counting = Counting { reader: stage.reader(), bytes: 0 };
    let ask = Ask { at: At::Line(0), backwards: false, lines: 1000, bytes: 1 << 20, until: None, frames: false };
    let first = page(&mut counting, ask).unwrap();
    assert!(first.items.len() > 150 && counting.bytes < 4 << 20, "{} lines, {} bytes", first.items.len(), counting.bytes);
    for _ in 0..20 {
        stage.output(&vec![b'x'; 200 << 10]);
        stage.checkpoint();
    }
    stage.world.writer.pass_or_fail();
    let cut = stage.ask(At::Offset(stage.end - (2 << 20)), false, 3);
    let cut: Vec<&Line> =
        cut.items.iter().filter_map(|item| if let Item::Line(line) = item { Some(line) } else { None }).collect();
    assert!(cut.len() == 3 && cut.iter().all(|line| line.continues && line.styled().len() >= LINE_BYTES_MAX), "{}", cut.len());
    assert!(cut.iter().all(|line| line.styled().len() < LINE_BYTES_MAX + 80));
    stage.check(10, false);
}

/// Counts what is read.
struct Counting {
    reader: Reader,
    bytes: u64,
}

impl Source for Counting {
    type Error = StoreError;

    fn page(&mut self, start: PageStart, to: u64, bytes_max: usize) -> Result<Page, StoreError> {
        let page = Source::page(&mut self.reader, start, to, bytes_max)?;
        self.bytes += page
            .pieces
            .iter()
            .map(|piece| if let Piece::Output { data, .. } = piece { data.len() as u64 } else { 0 })
            .sum::<u64>();
        Ok(page)
    }

    fn anchor(&mut self, seek: Seek) -> Result<Option<Anchor>, StoreError> {
        Source::anchor(&mut self.reader, seek)
    }
}
