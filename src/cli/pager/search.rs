//! Looking for a line that matches. [`find`] is all that a pager knows of how that is done.
//!
//! ```text
//!   up ─► op search, which looks from the newest line on: one match
//!   down ─► lines, page by page, looked at here
//! ```
//!
//! Memory is bounded by a page, and whoever waits no more drops the future.

use super::{ask::Query, cache::line_number, source::Source};
use crate::{
    cli::Failure,
    wire::{LinesAt, LinesOk},
};

/// Lines that are fetched first, and at most.
const LINES_FIRST: u64 = 200;
const LINES_MAX: u64 = 4000;

/// The number of the next line that matches.
pub(super) async fn find(source: &mut Source, query: &Query) -> Result<Option<u64>, Failure> {
    if query.back { source.search(query).await } else { below(source, query).await }
}

async fn below(source: &mut Source, query: &Query) -> Result<Option<u64>, Failure> {
    let (mut at, mut max) = (query.from, LINES_FIRST);
    loop {
        let page = source.plain(LinesAt::Line(at), false, max).await?;
        if let Some(line) = first_match(&page, query) {
            return Ok(Some(line));
        }
        let Some(next) = page.after.filter(|next| *next > at) else { return Ok(None) };
        (at, max) = (next, (max * 2).min(LINES_MAX));
        source.tell(format!("looking for {:?}, at line {at}", query.text));
    }
}

fn first_match(page: &LinesOk, query: &Query) -> Option<u64> {
    let mut numbered = page.items.iter().filter_map(|item| Some((line_number(item)?, &item.line)));
    numbered.find(|(number, line)| *number >= query.from && query.pattern.is_match(line)).map(|(number, _)| number)
}
