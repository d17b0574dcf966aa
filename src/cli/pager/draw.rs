//! What a pager's window shows. Pure.
//!
//! ```text
//!   lines …                                                  top … bottom
//!    build  lines 1200-1222 of 5000  2026-11-23 14:30:05  at the end            h: help     ◄ status, or what is typed
//! ```
//!
//! **Invariants.** A picture draws every cell of its window, nothing outside it, and sets no mode but whether the cursor is shown.

use std::fmt::Write;

use regex::Regex;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    cache::line_number,
    state::{Pager, Selection},
    view::shown,
    wrap,
};
use crate::cli::when::local;

/// What `h` shows.
const HELP: &str = "\
scroll   j k, arrows, Enter     a line; with a number before it so many
         space b, PgDn PgUp     a page; also Ctrl-F Ctrl-B
         Ctrl-D Ctrl-U, d u     half a page
         g G, Home End          the start, the end; G at the end follows
         F                      follow what comes, until Ctrl-C or a way up

jump     :123, 123G             line 123; they count from 0 at the creation
         t                      a time: 14:30, 2026-11-23 14:30, 10m ago
         ] [                    the next command, the one before, if the
                                shell has kaval's integration

search   / ?                    down, up: a regular expression; one in small
                                letters matches capitals too
         n N                    the next, the one before
         Ctrl-C, Esc            give up

copy     v                      select lines; move to the last one, then
         y                      copy them to the clipboard (OSC 52)
         s                      save them to a file; if none are selected, all
         o                      move the other end

show     f                      what full-screen programs showed, or not
         h                      this
         q, Esc                 quit";

/// The whole window; `progress` of what is under way, if it has taken a while.
pub(super) fn screen(pager: &Pager, progress: Option<&str>) -> String {
    let mut out = String::from("\x1b[?2026h\x1b[?25l");
    let foot = foot(pager, progress);
    // A window of one row shows what is asked of a person, or else a line.
    let has_foot = pager.view.rows > 1 || pager.prompt.is_some() || pager.message.is_some() || progress.is_some();
    let text_rows = if has_foot { pager.view.rows - 1 } else { pager.view.rows };
    let rows = match pager.help {
        Some(first) => help(pager, first),
        None => text(pager),
    };
    let rows = rows.into_iter().map(Some).chain(std::iter::repeat(None)).take(text_rows);
    for (at, row) in rows.enumerate() {
        let _ = write!(out, "\x1b[{};1H\x1b[m\x1b[K{}", at + 1, row.unwrap_or_default());
    }
    if has_foot {
        let _ = write!(out, "\x1b[{};1H\x1b[m\x1b[K{foot}", pager.view.rows);
    }
    out.push_str("\x1b[?2026l");
    out
}

fn help(pager: &Pager, first: usize) -> Vec<String> {
    let lines = HELP.lines().count();
    let first = first.min(lines.saturating_sub(pager.view.text_rows()));
    HELP.lines().skip(first).map(|line| fitted(line, pager.view.cols)).collect()
}

fn text(pager: &Pager) -> Vec<String> {
    let (mut rows, mut place, mut skipped) = (Vec::new(), pager.view.top.place, pager.view.top.row);
    while rows.len() < pager.view.text_rows() {
        let Some(item) = pager.view.cache.get(place) else { break };
        let is_selected = pager.selection.is_some_and(|selection| holds(selection, line_number(item)));
        let sought: Option<&Regex> = pager.sought.as_ref();
        let painted = wrap::rows(&shown(item), pager.view.cols, sought).into_iter().skip(skipped);
        rows.extend(painted.map(|row| row.paint(is_selected)));
        (place, skipped) = (place + 1, 0);
    }
    rows
}

fn holds(selection: Selection, number: Option<u64>) -> bool {
    let (first, last) = selection.ends();
    number.is_some_and(|number| (first..=last).contains(&number))
}

fn foot(pager: &Pager, progress: Option<&str>) -> String {
    if let Some(prompt) = &pager.prompt {
        let line = format!("{}{}", prompt.kind.label(), prompt.text);
        return format!("{}\x1b[?25h", fitted_end(&line, pager.view.cols.saturating_sub(1)));
    }
    let line = match (pager.help, &pager.message, progress) {
        (Some(_), ..) => " j k: scroll   any other key: back".to_owned(),
        (None, Some(message), _) => format!(" {message}"),
        (None, None, Some(progress)) => format!(" {progress} (Esc gives up)"),
        (None, None, None) => status(pager),
    };
    let line = fitted(&line, pager.view.cols);
    let room = pager.view.cols - line.width();
    format!("\x1b[7m{line}{}\x1b[m", " ".repeat(room))
}

/// As much of it as fits, what matters most first.
fn status(pager: &Pager) -> String {
    let parts = [Some(pager.name.clone()), Some(position(pager)), place(pager), time(pager), Some("h: help".to_owned())];
    let mut line = String::new();
    for part in parts.into_iter().flatten().filter(|part| !part.is_empty()) {
        let longer = format!("{line} {part} ");
        if longer.width() > pager.view.cols && !line.is_empty() {
            break;
        }
        line = longer;
    }
    line
}

fn position(pager: &Pager) -> String {
    if pager.view.is_empty() {
        return if pager.view.cache.has_end() { "no lines".to_owned() } else { "reading".to_owned() };
    }
    if let Some(selection) = pager.selection {
        let (first, last) = selection.ends();
        return format!("lines {first}-{last} selected: y copies, s saves, Esc lets go");
    }
    let (first, last) = pager.shown_numbers();
    let more = if pager.output_end > pager.total_at { "+" } else { "" };
    format!("lines {first}-{last} of {}{more}", pager.total)
}

fn place(pager: &Pager) -> Option<String> {
    let start = || match pager.view.cache.floor().reason.as_str() {
        "start" => "at the start".to_owned(),
        reason => format!("nothing before this: {reason}"),
    };
    if pager.following {
        return Some("following".to_owned());
    }
    match (pager.view.is_at_start(), pager.view.is_at_end()) {
        _ if pager.view.is_empty() => None,
        (true, true) => Some(format!("{}, all of it", start())),
        (true, false) => Some(start()),
        (false, true) => Some("at the end".to_owned()),
        (false, false) => None,
    }
}

/// When the top line left the screen.
fn time(pager: &Pager) -> Option<String> {
    pager.view.cache.get(pager.view.top.place).filter(|item| item.time > 0).map(|item| local(item.time))
}

/// The beginning of a text, as far as it fits.
fn fitted(text: &str, cols: usize) -> String {
    let mut room = cols;
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable
        .take_while(|c| {
            c.width().unwrap_or(0) <= room && {
                room -= c.width().unwrap_or(0);
                true
            }
        })
        .collect()
}

/// The end of a text, as far as it fits.
fn fitted_end(text: &str, cols: usize) -> String {
    let mut start = 0;
    while text[start..].width() > cols {
        start += text[start..].chars().next().map_or(1, char::len_utf8);
    }
    fitted(&text[start..], cols)
}
