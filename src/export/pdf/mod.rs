//! A history as a PDF: pages of text that can be selected, in a font that is embedded, on light paper.
//!
//! ```text
//!   line ─► runs ─► rows of so many columns ─► Page ─┬─► written, compressed, and forgotten
//!                                       Font: which glyphs ─► their subset, at the end
//! ```
//!
//! A page is as wide as its terminal ([`Sheet`]); a line that is longer goes on in the next row, with a mark in the margin. What the
//! font does not have (Chinese, Japanese, Korean, emoji) is a box, as wide as it was, and still the text it is.
//!
//! **Invariants.** One page is in memory, and some twenty bytes of each that is written. Text that is selected is what `txt` has, with a line's end
//! where it was wrapped.

mod font;
mod objects;
mod page;

use std::io::Write;

use pdf_writer::{
    Chunk, Name, Rect, Ref, TextStr,
    writers::{Catalog, DocumentInfo},
};

use self::{
    font::Font,
    objects::{BYTES_MAX, Objects},
    page::{Fonts, Page, Sheet, WEIGHTS},
};
use super::{About, ExportError, Exporter, Item, cells::cells, lines, sgr::Runs};

/// Some sixty million lines. Readers need not bear with more than eight million objects (ISO 32000-1, annex C), of which a page is two.
const PAGES_MAX: usize = 1_000_000;
/// Pages under a node of their tree.
const NODE_PAGES: usize = 256;
/// What is still to come when no more pages are taken: fonts, and the table.
const TAIL_BYTES: u64 = 64 << 20;

/// See the module's head.
pub(super) struct Pdf {
    title: String,
    sheet: Sheet,
    fonts: Fonts,
    page: Page,
    objects: Objects,
    tree: Ref,
    pages: usize,
    /// Nodes that are written.
    nodes: Vec<Ref>,
    /// The one that is not, and its pages.
    node: Option<(Ref, Vec<Ref>)>,
}

impl Pdf {
    pub(super) fn new(about: &About) -> Result<Self, ExportError> {
        let fonts = Fonts([Font::regular()?, Font::bold()?]);
        let sheet = Sheet::new(about.cols, fonts.0[0].metrics());
        let mut objects = Objects::default();
        let tree = objects.reserve();
        let (title, page) = (about.title.clone(), Page::new(sheet));
        Ok(Self { title, sheet, fonts, page, objects, tree, pages: 0, nodes: Vec::new(), node: None })
    }

    fn line(&mut self, line: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        self.turn_full(out)?;
        let mut col = 0;
        for (style, mut text) in Runs::new(line) {
            while !text.is_empty() {
                let fits = fitting(text, self.sheet.cols - col);
                if fits == 0 {
                    self.page.mark_wrap();
                    self.next_row(out)?;
                    col = 0;
                    continue;
                }
                let (now, rest) = text.split_at(fits);
                col = self.page.draw(col, style, now, &mut self.fonts);
                text = rest;
            }
        }
        self.page.row += 1;
        Ok(())
    }

    fn next_row(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        self.page.row += 1;
        self.turn_full(out)
    }

    fn turn_full(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        if self.page.is_full() { self.turn(out) } else { Ok(()) }
    }

    /// Writes the page, and begins the next.
    fn turn(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        if self.pages >= PAGES_MAX || self.objects.written() > BYTES_MAX - TAIL_BYTES {
            return Err(ExportError::TooLong { pages: PAGES_MAX, bytes: BYTES_MAX });
        }
        self.pages += 1;
        let page = std::mem::replace(&mut self.page, Page::new(self.sheet));
        let drawing = page.finish(&self.title, self.pages, &mut self.fonts);
        let (id, content) = (self.objects.reserve(), self.objects.reserve());
        let (parent, kids) = self.node.get_or_insert_with(|| (self.objects.reserve(), Vec::new()));
        let parent = *parent;
        kids.push(id);
        let is_full = kids.len() == NODE_PAGES;
        self.objects.put(id, |chunk| _ = chunk.page(id).parent(parent).contents(content), out)?;
        self.objects.put_stream(content, &drawing, |_| {}, out)?;
        if is_full { self.end_node(out) } else { Ok(()) }
    }

    fn end_node(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        let Some((id, kids)) = self.node.take() else { return Ok(()) };
        self.nodes.push(id);
        let (tree, count) = (self.tree, kids.len() as i32);
        let fill = |chunk: &mut Chunk| _ = chunk.pages(id).parent(tree).kids(kids).count(count);
        Ok(self.objects.put(id, fill, out)?)
    }

    /// The root of the pages, which says what they have in common.
    fn end_tree(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut fonts = Vec::new();
        for (weight, font) in WEIGHTS.iter().zip(&self.fonts.0) {
            let planes = font.write(&mut self.objects, out)?;
            fonts.extend(planes.into_iter().map(|(plane, id)| (format!("{weight}{plane}"), id)));
        }
        let (tree, nodes, count) = (self.tree, std::mem::take(&mut self.nodes), self.pages as i32);
        let paper = Rect::new(0.0, 0.0, self.sheet.width, self.sheet.height);
        let fill = |chunk: &mut Chunk| {
            let mut root = chunk.pages(tree);
            root.kids(nodes).count(count).media_box(paper);
            let mut resources = root.resources();
            let mut named = resources.fonts();
            fonts.iter().for_each(|(name, id)| _ = named.pair(Name(name.as_bytes()), *id));
        };
        Ok(self.objects.put(tree, fill, out)?)
    }
}

impl Exporter for Pdf {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(self.objects.begin(out)?)
    }

    fn take(&mut self, item: Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        if let Item::Lines(data) = item {
            for line in lines(data) {
                self.line(&line, out)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        if self.page.row > 0 || self.pages == 0 {
            self.turn(out)?;
        }
        self.end_node(out)?;
        self.end_tree(out)?;
        let (catalog, info, tree) = (self.objects.reserve(), self.objects.reserve(), self.tree);
        let fill = |chunk: &mut Chunk| {
            let mut catalog = chunk.indirect(catalog).start::<Catalog<'_>>();
            catalog.pages(tree).viewer_preferences().display_doc_title(true);
        };
        self.objects.put(catalog, fill, out)?;
        let fill = |chunk: &mut Chunk| {
            let mut info = chunk.indirect(info).start::<DocumentInfo<'_>>();
            info.title(TextStr(&self.title)).producer(TextStr("kaval"));
        };
        self.objects.put(info, fill, out)?;
        Ok(self.objects.finish(catalog, info, out)?)
    }
}

/// How many bytes of a text fit so many columns.
fn fitting(text: &str, cols: usize) -> usize {
    let mut left = cols;
    let fits = |cell: &super::cells::Cell<'_>| {
        let fits = cell.width <= left;
        left = left.saturating_sub(cell.width);
        fits
    };
    cells(text).take_while(fits).map(|cell| cell.text.len()).sum()
}

#[cfg(test)]
mod tests;
