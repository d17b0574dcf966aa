//! Raw history as it went on: the screen that it begins on, output and sizes with their times, and what is missing, in its place.
//!
//! **Invariants.** What comes is what a terminal has to be fed, at its times, to show what this one showed. The screen costs one checkpoint's
//! interval, wherever it is.

use bytes::Bytes;
use kaval_actors::{
    Size,
    log::{
        piece::{PageStart, Piece},
        replay::draw,
    },
    mirror::Mirror,
};
use tokio::task::spawn_blocking;

use super::{
    super::{attach, ops},
    Reading, Stop,
};
use crate::wire::{Code, Data, Event, WireError};

impl Reading<'_> {
    pub(super) async fn send_timed(&self, tail: Option<u64>) -> Result<(), Stop> {
        let from = self.raw_start(tail).await?;
        let mirror = self.screen_at(from).await?;
        let drawn = if from == 0 { Bytes::new() } else { Bytes::from([mirror.repaint(), mirror.begun()].concat()) };
        for frame in attach::screen(self.req, from, mirror.size(), &drawn) {
            self.session.send(&frame).await?;
        }
        let mut next = Some(from);
        while let Some(at) = next.filter(|at| *at < self.to) {
            let page = self.page(PageStart::Offset(at), self.to).await?;
            for event in page.pieces.into_iter().filter_map(|piece| event(self.req, piece)) {
                self.session.send(&event).await?;
            }
            next = page.next;
        }
        Ok(())
    }

    /// The screen as it was at `offset`.
    async fn screen_at(&self, offset: u64) -> Result<Mirror, Stop> {
        let mut page = self.page(PageStart::Checkpoint(offset), offset).await?;
        let mut mirror = Mirror::new(page.size.unwrap_or(Size::DEFAULT));
        loop {
            if self.session.is_gone() {
                return Err(Stop::Unheard);
            }
            let pieces = page.pieces;
            mirror = self.drawn(mirror, pieces).await?;
            let Some(at) = page.next else { return Ok(mirror) };
            page = self.page(PageStart::Offset(at), offset).await?;
        }
    }

    /// Draws a page, once there is a place for that.
    async fn drawn(&self, mut mirror: Mirror, pieces: Vec<Piece>) -> Result<Mirror, Stop> {
        let _place = self.session.hub.renderers.acquire().await.map_err(|_| ops::ending())?;
        let draw = move || {
            pieces.iter().for_each(|piece| draw(&mut mirror, piece));
            _ = mirror.take_notices();
            mirror
        };
        let failed = |_| WireError::new(Code::Internal, "history could not be drawn: see the supervisor's log");
        Ok(spawn_blocking(draw).await.map_err(failed)?)
    }
}

fn event(req: u64, piece: Piece) -> Option<Event> {
    match piece {
        Piece::Output { offset, time_ns, data } => {
            Some(Event::Output { req, offset, data: Data(data), time_us: Some(time_ns / 1000) })
        }
        Piece::Resize { offset, time_ns, size } => {
            Some(Event::Resized { req, offset, cols: size.cols(), rows: size.rows(), time_us: Some(time_ns / 1000) })
        }
        Piece::Gap { from, to, .. } => Some(Event::Lagged { req, from, to }),
        Piece::Checkpoint { .. } => None,
    }
}
