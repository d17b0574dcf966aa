//! A history as a web page: one file, of text that can be selected, on light or dark as the reader's system is, without a script.
//!
//! ```text
//!   <pre> <div>line          500 lines or so in a block: a browser lays out those that show
//!         line</div> <div>… </div> </pre>
//!   run of one style ─► <span class="b f1">…</span>     wide characters ─► a box of so many columns
//! ```
//!
//! **Invariants.** Text is escaped, and nothing else of a history is written: of colours only their numbers. What is selected and copied is
//! what `txt` has. Colours by name are variables, set once for light and once for dark.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{
    About, ExportError, Exporter, Item,
    cells::cells,
    lines,
    palette::{self, Theme},
    sgr::{Paint, Runs, Style},
};

/// Lines of a block, after which the next that is not empty ends it.
const BLOCK_LINES: usize = 500;
/// Wide characters of a box: a longer one could not be wrapped.
const BOX_CHARS: usize = 8;

const HEAD: &str = "<meta charset=utf-8>
<meta name=viewport content=\"width=device-width, initial-scale=1\">
<meta name=color-scheme content=\"light dark\">
<meta name=generator content=kaval>
<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">
";

const RULES: &str = "html{background:var(--p);color:var(--k)}body{margin:0}
pre{margin:0;padding:1em;font:13px/1.17 ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,monospace;\
white-space:pre-wrap;overflow-wrap:anywhere}
div{content-visibility:auto;contain-intrinsic-size:auto 585em}
.b{font-weight:bold}.d{opacity:.6}.i{font-style:italic}.u{text-decoration:underline}.s{text-decoration:line-through}\
.u.s{text-decoration:underline line-through}
.w{display:inline-block;white-space:pre;text-align:justify;text-align-last:justify;text-justify:inter-character}
.gk{background:var(--k)}.gp{background:var(--p)}
";

/// See the module's head.
pub(super) struct Html {
    title: String,
    /// Lines in the block that is open; none is if there are none.
    block: usize,
    /// Its last line was empty: a block does not end with one.
    after_empty: bool,
    markup: String,
}

impl Html {
    pub(super) fn new(about: &About) -> Self {
        Self { title: about.title.clone(), block: 0, after_empty: false, markup: String::new() }
    }

    fn line(&mut self, line: &str) {
        let is_full = self.block >= BLOCK_LINES && !self.after_empty;
        let before = match self.block {
            0 => "<div>",
            _ if is_full => "</div><div>",
            _ => "\n",
        };
        self.markup.push_str(before);
        self.block = if is_full { 1 } else { self.block + 1 };
        let start = self.markup.len();
        Runs::new(line).for_each(|(style, text)| run(&mut self.markup, style, text));
        self.after_empty = self.markup.len() == start;
    }

    fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.markup.as_bytes())?;
        self.markup.clear();
        Ok(())
    }
}

impl Exporter for Html {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        write!(self.markup, "<!DOCTYPE html>\n<html>\n{HEAD}<title>").ok();
        escape(&mut self.markup, &self.title.replace(char::is_control, "\u{fffd}"));
        write!(self.markup, "</title>\n<style>\n{}{RULES}{}</style>\n<pre>", variables(), palette_rules()).ok();
        Ok(self.flush(out)?)
    }

    fn take(&mut self, item: Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        if let Item::Lines(data) = item {
            lines(data).for_each(|line| self.line(&line));
            self.flush(out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        if self.block > 0 {
            // A newline at a block's very end shows nothing: an empty line takes another.
            self.markup.push_str(if self.after_empty { "\n</div>" } else { "</div>" });
        }
        self.markup.push_str("</pre>\n</html>\n");
        Ok(self.flush(out)?)
    }
}

fn variables() -> String {
    let set = |theme: &Theme| {
        let named = theme.named.iter().enumerate();
        let named = named.map(|(index, color)| format!(";--{index}:{};--o{index}:{}", hex(*color), hex(theme.ink_on(*color))));
        format!(":root{{--k:{};--p:{}{}}}", hex(theme.ink), hex(theme.paper), named.collect::<String>())
    };
    let (light, dark) = (set(&palette::LIGHT), set(&palette::DARK));
    format!("{light}\n@media(prefers-color-scheme:dark){{{dark}}}\n")
}

fn palette_rules() -> String {
    let rule = |index: u8| {
        let (color, ink) = match index {
            0..16 => (format!("var(--{index})"), format!("var(--o{index})")),
            _ => (hex(palette::fixed(index)), hex(palette::LIGHT.ink_on(palette::fixed(index)))),
        };
        (format!(".g{index}{{background:{color};color:{ink}}}\n"), format!(".f{index}{{color:{color}}}\n"))
    };
    // What text is painted with is said behind what it stands on, and holds.
    let (papers, inks): (String, String) = (0..=255).map(rule).unzip();
    let boxes = (1..=BOX_CHARS).map(|chars| format!(".w{0}{{width:{0}ch}}", 2 * chars));
    format!("{papers}.fk{{color:var(--k)}}.fp{{color:var(--p)}}\n{inks}{}\n", boxes.collect::<String>())
}

fn hex([r, g, b]: palette::Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn run(markup: &mut String, style: Style, text: &str) {
    let (classes, css) = looks(style);
    if classes.is_empty() && css.is_empty() {
        return characters(markup, text);
    }
    markup.push_str("<span");
    match classes.as_slice() {
        [] => {}
        [class] => write!(markup, " class={class}").unwrap_or_default(),
        classes => write!(markup, " class=\"{}\"", classes.join(" ")).unwrap_or_default(),
    }
    if !css.is_empty() {
        write!(markup, " style={}", css.join(";")).unwrap_or_default();
    }
    markup.push('>');
    characters(markup, text);
    markup.push_str("</span>");
}

/// A style as classes, and what none is made for.
fn looks(style: Style) -> (Vec<String>, Vec<String>) {
    let (mut classes, mut css) = (Vec::new(), Vec::new());
    let flags = [(style.bold, "b"), (style.dim, "d"), (style.italic, "i"), (style.underline, "u"), (style.strike, "s")];
    classes.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, class)| (*class).to_owned()));
    let mut paint = |paint: Paint, none: Paint, class: char, property: &str| match paint {
        paint if paint == none => {}
        Paint::Ink => classes.push(format!("{class}k")),
        Paint::Paper => classes.push(format!("{class}p")),
        Paint::Indexed(index) => classes.push(format!("{class}{index}")),
        Paint::Rgb(rgb) => css.push(format!("{property}:{}", hex(rgb))),
    };
    paint(style.ink(), Paint::Ink, 'f', "color");
    paint(style.paper(), Paint::Paper, 'g', "background");
    if let (Paint::Ink, Paint::Rgb(paper)) = (style.ink(), style.paper()) {
        css.push(format!("color:{}", hex(palette::LIGHT.ink_on(paper))));
    }
    (classes, css)
}

/// Writes text, with wide characters in boxes: fonts do not draw them two columns wide.
fn characters(markup: &mut String, text: &str) {
    if text.is_ascii() {
        return escape(markup, text);
    }
    let (mut wide, mut count) = (String::new(), 0);
    for cell in cells(text) {
        if cell.width == 2 {
            wide.push_str(cell.text);
            count += 1;
        }
        if cell.width != 2 || count == BOX_CHARS {
            end_box(markup, &mut wide, &mut count);
        }
        if cell.width != 2 {
            escape(markup, cell.text);
        }
    }
    end_box(markup, &mut wide, &mut count);
}

fn end_box(markup: &mut String, wide: &mut String, count: &mut usize) {
    if *count > 0 {
        write!(markup, "<span class=\"w w{}\">", 2 * *count).unwrap_or_default();
        escape(markup, wide);
        markup.push_str("</span>");
        wide.clear();
        *count = 0;
    }
}

fn escape(markup: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
        let (plain, special) = rest.split_at(at);
        markup.push_str(plain);
        markup.push_str(match special.as_bytes()[0] {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'"' => "&quot;",
            _ => "&#39;",
        });
        rest = &special[1..];
    }
    markup.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::sgr;

    fn page(items: &[&str]) -> String {
        let mut out = Vec::new();
        let mut html = Html::new(&About { title: "</title><script>".to_owned(), cols: 80 });
        html.begin(&mut out).unwrap();
        items.iter().for_each(|item| html.take(Item::Lines(item.as_bytes()), &mut out).unwrap());
        html.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn body(page: &str) -> &str {
        page.split_once("<pre>").unwrap().1.split_once("</pre>").unwrap().0
    }

    /// What a browser makes of it: blocks are lines apart, markup is left out.
    fn text(page: &str) -> String {
        let blocks = body(page).replace("</div><div>", "\n").replace("<div>", "").replace("\n</div>", "</div>");
        let mut text = String::new();
        for part in blocks.split('<') {
            text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        }
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        entities.iter().fold(text, |text, (entity, c)| text.replace(entity, c))
    }

    #[test]
    fn runs_are_spans_with_classes() {
        let line = "a\x1b[1;31mb\x1b[7mc\x1b[m \x1b[38;2;1;2;3md\x1b[m\x1b[7me\x1b[m\n";
        let found = page(&[line]);
        let expected = "<div>a<span class=\"b f1\">b</span><span class=\"b fp g1\">c</span> \
            <span style=color:#010203>d</span><span class=\"fp gk\">e</span></div>";
        assert_eq!(body(&found), expected);
    }

    #[test]
    fn wide_characters_are_boxed_so_many_at_a_time() {
        let found = page(&["x日本y日本語日本語日本語\n"]);
        let expected = "<div>x<span class=\"w w4\">日本</span>y<span class=\"w w16\">日本語日本語日本</span>\
            <span class=\"w w2\">語</span></div>";
        assert_eq!(body(&found), expected);
    }

    #[test]
    fn a_title_is_text_and_nothing_to_be_run() {
        let found = page(&["<script>alert(1)</script>\n"]);
        assert!(!found.contains("<script"), "{found}");
        assert!(found.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
    }

    #[test]
    fn a_block_ends_behind_a_line_that_is_not_empty() {
        let filled = "x\n".repeat(BLOCK_LINES - 1);
        let found = page(&[&filled, "\n\ny\nz\n\n"]);
        assert!(body(&found).ends_with("x\n\n\ny</div><div>z\n\n</div>"), "{}", body(&found));
        assert_eq!(body(&page(&[])), "");
    }

    proptest! {
        #![proptest_config(sgr::tests::cases())]

        #[test]
        fn the_text_is_that_of_the_lines(lines in sgr::tests::lines(), copies in 1..20_usize) {
            let lines: Vec<String> = (0..copies).flat_map(|_| lines.clone()).collect();
            let expected: Vec<String> = lines.iter().map(|line| sgr::text(line)).collect();
            let found = page(&[&(lines.join("\n") + "\n")]);
            prop_assert_eq!(text(&found), expected.join("\n"));
        }
    }
}
