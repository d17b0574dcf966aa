//! Looking for a line that matches. [`find`] is all that a pager knows of how that is done.
//!
//! Lines are fetched page by page, in the direction of the search, and looked at here: memory is bounded by a page, and whoever waits no more
//! drops the future.

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
    let (mut at, mut max) = (query.from, LINES_FIRST);
    loop {
        let page = source.plain(LinesAt::Line(at), query.back, max).await?;
        if let Some(line) = first_match(&page, query) {
            return Ok(Some(line));
        }
        let next = if query.back { page.before.filter(|next| *next < at) } else { page.after.filter(|next| *next > at) };
        let Some(next) = next else { return Ok(None) };
        (at, max) = (next, (max * 2).min(LINES_MAX));
        source.tell(format!("looking for {:?}, at line {at}", query.pattern.as_str()));
    }
}

fn first_match(page: &LinesOk, query: &Query) -> Option<u64> {
    let numbered = page.items.iter().filter_map(|item| Some((line_number(item)?, item)));
    let in_reach = |number: u64| if query.back { number < query.from } else { number >= query.from };
    let mut matching = numbered.filter(|(number, item)| in_reach(*number) && query.pattern.is_match(&item.line));
    if query.back { matching.next_back() } else { matching.next() }.map(|(number, _)| number)
}
