//! The mirror: what a terminal looks like now, in bounded memory, and what rebuilds it.
//!
//! ```text
//! journal bytes ─► Mirror::feed ─► skim ─► canvas (filter ─► vt100, no scrollback) ─► text, cells, repaint, checkpoint
//! ```
//!
//! A `canvas` is also what the log's renderer draws on, to see what leaves the screen.
//!
//! **Invariants.** RAM holds the viewport and nothing above it. No input makes a caller panic: a panic inside the parser comes back
//! as [`Panicked`], after which the mirror must be rebuilt. `screen` does not depend on how the bytes were cut.
//!
//! A checkpoint is [`Mirror::checkpoint`]'s bytes: both screens, cursor, attributes, modes and title. What vt100 does not let one
//! ask for (margins, origin mode, saved cursors, half a sequence) is not in it yet.

mod canvas;
mod filter;
mod notice;
mod skim;
mod view;

pub(crate) use self::canvas::{Canvas, decode_checkpoint};
pub use self::{
    canvas::{decode_size, encode_size},
    notice::{NOTICE_BYTES_MAX, Notice, What},
    view::{Cell, CellColor, Cursor, ScreenView},
};
use crate::Size;

/// Most bytes of a title that are kept.
const TITLE_BYTES_MAX: usize = 1024;

/// The parser panicked; its state can no longer be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the screen's parser panicked")]
pub struct Panicked;

/// Why bytes are no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint of a screen")]
pub struct BadCheckpoint;

/// What vt100 tells by callback.
#[derive(Debug, Default, Clone)]
struct Observed {
    title: String,
    notices: Vec<What>,
}

impl vt100::Callbacks for Observed {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title = &title[..title.len().min(TITLE_BYTES_MAX)];
        self.title = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).collect();
    }

    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.notices.push(What::Bell);
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        self.notices.push(What::Osc(params.join(&b';')));
    }
}

/// See the module's head.
pub struct Mirror {
    canvas: Canvas<Observed>,
    /// Whether the parser is known to be between sequences.
    between: bool,
    /// Bytes fed since notices were last taken.
    fed: u64,
    notices: Vec<Notice>,
}

impl Mirror {
    /// An empty screen.
    pub fn new(size: Size) -> Self {
        Self { canvas: Canvas::new(size, Observed::default()), between: true, fed: 0, notices: Vec::new() }
    }

    /// Draws output.
    ///
    /// # Errors
    /// [`Panicked`]: the mirror is to be thrown away.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Panicked> {
        match self.skim(bytes) {
            Some(cut) => {
                self.canvas.feed(&bytes[..cut.from])?;
                for start in (0..cut.rows).step_by(NEWLINES.len()) {
                    self.canvas.feed(&NEWLINES[..NEWLINES.len().min(cut.rows - start)])?;
                }
                self.canvas.feed(&cut.pen)?;
                self.canvas.feed(&bytes[cut.to..])?;
            }
            None => self.canvas.feed(bytes)?,
        }
        self.fed += bytes.len() as u64;
        let at = self.fed;
        let noticed = self.canvas.callbacks_mut().notices.drain(..);
        self.notices.extend(noticed.map(|what| Notice { at, what }));
        self.between = self.canvas.is_between_characters() && skim::is_between(self.between, bytes);
        Ok(())
    }

    /// What programs told or asked since the last time.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.fed = 0;
        std::mem::take(&mut self.notices)
    }

    fn skim(&self, bytes: &[u8]) -> Option<skim::Cut> {
        if !(self.between && self.canvas.is_between_characters()) {
            return None;
        }
        let size = self.size();
        skim::cut(bytes, size.cols().into(), size.rows().into()).filter(|_| self.has_no_margins())
    }

    /// Asked of a copy: under origin mode the cursor is kept between the margins.
    fn has_no_margins(&self) -> bool {
        let mut copy = canvas::copy(self.canvas.screen());
        copy.process(b"\x1b[?6h\x1b[H");
        let top = copy.screen().cursor_position().0;
        copy.process(b"\x1b[65535;1H");
        (top, copy.screen().cursor_position().0) == (0, self.size().rows() - 1)
    }

    /// Gives the screen another size.
    ///
    /// # Errors
    /// As [`Mirror::feed`].
    pub fn resize(&mut self, size: Size) -> Result<(), Panicked> {
        self.canvas.resize(size)
    }

    /// The size.
    pub fn size(&self) -> Size {
        self.canvas.size()
    }

    /// The title its programs set; empty if none.
    pub fn title(&self) -> &str {
        &self.canvas.callbacks().title
    }

    /// The visible rows, right-trimmed, each ended by a newline; trailing blank rows left out.
    pub fn text(&self) -> String {
        let rows = self.canvas.screen().rows(0, self.size().cols());
        let mut text: String = rows.map(|row| row.trim_end().to_owned() + "\n").collect();
        text.truncate(text.trim_end_matches('\n').len());
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// The screen, cell by cell.
    pub fn view(&self) -> ScreenView {
        view::of(self.canvas.screen(), self.title())
    }

    /// Bytes that draw this screen on a terminal of its size in any state: both screens, modes, cursor and title.
    pub fn repaint(&self) -> Vec<u8> {
        let mut out = canvas::repaint(self.canvas.screen());
        out.extend_from_slice(format!("\x1b]2;{}\x1b\\", self.title()).as_bytes());
        out
    }

    /// What [`Mirror::restore`] makes the same screen of.
    pub fn checkpoint(&self) -> Vec<u8> {
        canvas::encode_checkpoint(self.size(), &self.repaint())
    }

    /// Rebuilds a screen from [`Mirror::checkpoint`]'s bytes.
    ///
    /// # Errors
    /// [`BadCheckpoint`] if they are something else.
    pub fn restore(checkpoint: &[u8]) -> Result<Self, BadCheckpoint> {
        let (size, repaint) = decode_checkpoint(checkpoint)?;
        let mut mirror = Self::new(size);
        mirror.feed(repaint).map_err(|Panicked| BadCheckpoint)?;
        Ok(mirror)
    }
}

/// Lines that are left out of a flood, as the parser is told of them.
const NEWLINES: [u8; 256] = [b'\n'; 256];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(size: Size, pieces: &[&[u8]]) -> Mirror {
        let mut mirror = Mirror::new(size);
        for piece in pieces {
            mirror.feed(piece).unwrap();
        }
        mirror
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            "[ -~]{0,40}".prop_map(String::into_bytes),
            (any::<u8>(), any::<u8>()).prop_map(|(r, c)| format!("\x1b[{r};{c}H").into_bytes()),
            (0u8..110).prop_map(|n| format!("\x1b[{n}m").into_bytes()),
            prop::sample::select(vec![
                "\r\n",
                "\x1b[2J",
                "\x1b[K",
                "\x1b[?1049h",
                "\x1b[?1049l",
                "é漢🦀",
                "\x1b]2;title\x07",
                "\x1b[?25l"
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if std::env::var_os("KAVAL_SOAK").is_some() { 50_000 } else { 500 }, ..ProptestConfig::default() })]

        /// The split law.
        #[test]
        fn the_screen_does_not_depend_on_how_the_stream_was_cut(bytes in output(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let mut whole = Mirror::new(Size::DEFAULT);
            let mut cut = Mirror::new(Size::DEFAULT);
            let whole_result = whole.feed(&bytes);
            let cut_result = pieces.iter().try_for_each(|piece| cut.feed(piece));
            prop_assert_eq!(whole_result, cut_result);
            if whole_result.is_ok() {
                prop_assert_eq!(whole.view(), cut.view());
                prop_assert_eq!(whole.repaint(), cut.repaint());
            }
        }

        #[test]
        fn a_repaint_draws_the_same_screen(bytes in output()) {
            let mut mirror = Mirror::new(Size::DEFAULT);
            prop_assume!(mirror.feed(&bytes).is_ok());
            let restored = Mirror::restore(&mirror.checkpoint()).unwrap();
            prop_assert_eq!(mirror.view(), restored.view());
        }
    }

    proptest! {
        // Each case is some 40 KB.
        #![proptest_config(ProptestConfig { cases: if std::env::var_os("KAVAL_SOAK").is_some() { 5000 } else { 30 }, ..ProptestConfig::default() })]

        /// Small pieces are drawn whole; one big one is skimmed.
        #[test]
        fn a_flood_that_is_skimmed_gives_the_screen_of_one_that_is_drawn(
            before in output(), margins in prop::option::of((1u8..12, 6u8..30)),
            lines in prop::collection::vec("([ -~]{0,30}|\x1b\\[[0-9;]{0,6}m|[ -~]{70,170}){0,3}\r\n", 300..500), after in output(),
        ) {
            let margins = margins.map_or(String::new(), |(top, bottom)| format!("\x1b[{top};{bottom}r"));
            let flood = lines.concat();
            let start = [&before[..], margins.as_bytes(), b"\x1b[m"].concat();
            let (mut skimmed, mut whole) = (Mirror::new(Size::DEFAULT), Mirror::new(Size::DEFAULT));
            prop_assume!(whole.feed(&start).is_ok() && skimmed.feed(&start).is_ok());
            let drawn = flood.as_bytes().chunks(50).try_for_each(|piece| whole.feed(piece));
            prop_assert_eq!(drawn, skimmed.feed(flood.as_bytes()));
            for mirror in [&mut whole, &mut skimmed] {
                mirror.feed(&after).unwrap();
                mirror.resize(Size::new(90, 200).unwrap()).unwrap();
            }
            prop_assert_eq!(whole.view(), skimmed.view());
            prop_assert_eq!(whole.repaint(), skimmed.repaint());
        }
    }

    #[test]
    fn leaving_the_alternate_screen_after_a_restore_shows_the_main_one() {
        let mirror = drawn(Size::DEFAULT, &[b"$ vim\r\n", b"\x1b[?1049h\x1b[2J~ a file"]);
        let mut restored = Mirror::restore(&mirror.checkpoint()).unwrap();
        assert_eq!(restored.text(), "~ a file\n");
        restored.feed(b"\x1b[?1049l").unwrap();
        assert_eq!(restored.text(), "$ vim\n");
    }

    #[test]
    fn a_panic_in_the_parser_is_an_error() {
        let mut mirror = Mirror::new(Size::DEFAULT);
        let script = "\x1b[24;80H\u{26a0}\u{fe0f}\x1b[23;80HX\u{26a0}\n\n\x1b[23;80H\u{26a0}\u{fe0f}\x1b[23;80HX";
        let results: Vec<_> = (0..4).map(|_| mirror.feed(script.as_bytes())).collect();
        assert!(results.contains(&Err(Panicked)), "vt100 no longer panics here: find it another sequence");
    }

    #[test]
    fn text_keeps_inner_blank_rows_and_drops_trailing_ones() {
        assert_eq!(drawn(Size::DEFAULT, &[b"a  \r\n\r\nb"]).text(), "a\n\nb\n");
        assert_eq!(Mirror::new(Size::DEFAULT).text(), "");
    }

    #[test]
    fn bytes_that_are_no_checkpoint_are_refused() {
        for bad in [&b""[..], b"abc", b"\0\0\0\0x", b"\xff\xff\xff\xff"] {
            assert!(Mirror::restore(bad).is_err());
        }
    }
}
