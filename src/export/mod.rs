//! A terminal's history as a file: what it is written in, and where it goes.
//!
//! ```text
//!   Item (lines, or output with its times) ─► Exporter ─► Target: a file that is there only once it is whole, or stdout
//!              text: cells, sgr, palette ─► html, pdf          cast          plain: txt, ansi, raw
//! ```
//!
//! **Invariants.** Items are written as they come: an exporter holds a page of them at most, however long the history is. What a terminal has
//! put out is hostile: it is text in every format, and never markup.
//!
//! Absent on purpose: where items come from, and how far it has got (both in the command line).

mod cast;
pub(crate) mod cells;
mod html;
mod palette;
mod pdf;
mod plain;
pub(crate) mod sgr;
mod target;

use std::io::{self, Write};

pub use self::{
    cast::CastVersion,
    target::{Target, TargetError},
};

/// What a history is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Items are written as they are: lines of text, styled or not, or output.
    Plain,
    /// A web page.
    Html,
    /// A document of pages.
    Pdf,
    /// A recording that can be played.
    Cast(CastVersion),
}

/// What is said of a history in its file.
#[derive(Debug, Clone)]
pub struct About {
    /// Its title.
    pub title: String,
    /// How wide its terminal is.
    pub cols: u16,
}

/// A part of a history, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Whole lines, each ended by a newline, with or without `SGR`.
    Lines(&'a [u8]),
    /// The screen that what follows was put out on; comes first.
    Screen {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// What draws it; empty at a terminal's beginning.
        data: &'a [u8],
    },
    /// Output.
    Output {
        /// The bytes.
        data: &'a [u8],
        /// When they came, microseconds since the Unix epoch.
        time_us: u64,
    },
    /// The size became another.
    Resized {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// When, likewise.
        time_us: u64,
    },
    /// Output that was is no longer kept.
    Missing {
        /// How much.
        bytes: u64,
    },
}

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Where it goes takes no more.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// The format does not hold that much.
    #[error("a PDF holds no more than {pages} pages or {bytes} bytes: export a part of it, with --tail or --from and --to")]
    TooLong {
        /// Most pages.
        pages: usize,
        /// Most bytes.
        bytes: u64,
    },
    /// The font that is embedded cannot be read.
    #[error("the embedded font cannot be used: {0}")]
    Font(String),
}

/// Writes a format.
pub trait Exporter {
    /// What comes before all items.
    ///
    /// # Errors
    /// See [`ExportError`]; so with the others.
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError>;

    /// An item. Of a kind that the format has no use for, nothing comes.
    ///
    /// # Errors
    /// See [`ExportError`].
    fn take(&mut self, item: Item<'_>, out: &mut dyn Write) -> Result<(), ExportError>;

    /// What comes behind all items.
    ///
    /// # Errors
    /// See [`ExportError`].
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError>;
}

/// The one for a format.
///
/// # Errors
/// [`ExportError::Font`].
pub fn exporter(format: Format, about: &About) -> Result<Box<dyn Exporter>, ExportError> {
    Ok(match format {
        Format::Plain => Box::new(plain::Plain),
        Format::Html => Box::new(html::Html::new(about)),
        Format::Pdf => Box::new(pdf::Pdf::new(about)?),
        Format::Cast(version) => Box::new(cast::Cast::new(version, about)),
    })
}

/// The lines of an item, without their newlines.
fn lines(data: &[u8]) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
    let ended = data.strip_suffix(b"\n").map(|data| data.split(|byte| *byte == b'\n'));
    ended.into_iter().flatten().map(String::from_utf8_lossy)
}
