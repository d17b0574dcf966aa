//! Letting others have their turn, truly.
//!
//! ```text
//!   flood ─► Yield ─┐
//!   flood ─► Yield ─┼─► Usher: the runtime looks for events (a keystroke, a timer), then one of those that wait is let in ─► its turn
//!   flood ─► Yield ─┘
//! ```
//!
//! An actor's context polls all that it waits for again as soon as any of it led to more, and a woken task runs dozens of times before the
//! runtime looks for events. Whoever merely wakes itself, or is ready when polled twice, thereby has many turns for one of everybody else's.
//!
//! **Invariants.** A [`Yield`] is ready once it was let in, however often it is polled. Between two that are let in on a lane the runtime looks
//! for events, and whoever waited for one of these goes first: a keystroke waits for one turn, however many floods there are.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// See the module's head; one a lane.
#[derive(Clone)]
pub(super) struct Usher(UnboundedSender<Waker>);

impl Usher {
    /// Begins, on the present thread's runtime.
    pub(super) fn start() -> Self {
        let (queue, waiting) = unbounded_channel();
        actix::spawn(let_in(waiting));
        Self(queue)
    }

    /// To be polled by who has had a turn.
    pub(super) fn others_first(&self) -> Yield {
        Yield { usher: self.clone(), waits: false, let_in: Arc::default() }
    }
}

async fn let_in(mut waiting: UnboundedReceiver<Waker>) {
    while let Some(next) = waiting.recv().await {
        // Woken again only once the runtime has looked for events.
        tokio::task::yield_now().await;
        next.wake();
    }
}

/// See the module's head. Ready again and again: each time that it is, a new wait begins with the next poll.
pub(super) struct Yield {
    usher: Usher,
    waits: bool,
    let_in: Arc<LetIn>,
}

#[derive(Default)]
struct LetIn {
    is: AtomicBool,
    task: AtomicWaker,
}

impl Wake for LetIn {
    fn wake(self: Arc<Self>) {
        self.is.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.let_in.task.register(cx.waker());
        if !self.waits {
            self.waits = true;
            let waker = Waker::from(Arc::clone(&self.let_in));
            // The usher ends with its thread alone.
            _ = self.usher.0.send(waker);
            return Poll::Pending;
        }
        if !self.let_in.is.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        self.waits = false;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, rc::Rc, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
        time::timeout,
    };

    use super::*;

    const FLOODS: usize = 5;

    /// Takes turns for ever.
    async fn flood(mut turn: Yield, turns: Rc<Cell<usize>>) {
        loop {
            poll_fn(|cx| match Pin::new(&mut turn).poll(cx) {
                // As an actor's context does it.
                Poll::Pending => Pin::new(&mut turn).poll(cx),
                Poll::Ready(()) => Poll::Ready(()),
            })
            .await;
            turns.set(turns.get() + 1);
        }
    }

    async fn echo(mut stream: UnixStream) -> std::io::Result<()> {
        loop {
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
        }
    }

    #[test]
    fn a_keystroke_waits_for_one_turn_of_one_flood_a_hop() {
        actix::System::new().block_on(async {
            let usher = Usher::start();
            let turns: [Rc<Cell<usize>>; FLOODS] = Default::default();
            for turns in &turns {
                actix::spawn(flood(usher.others_first(), Rc::clone(turns)));
            }
            let had = || turns.iter().map(|turns| turns.get()).sum::<usize>();
            let (mut near, far) = UnixStream::pair().unwrap();
            actix::spawn(echo(far));
            let keystrokes = async {
                for key in 0..1000 {
                    let before = had();
                    near.write_u8(b'k').await.unwrap();
                    assert_eq!(near.read_u8().await.unwrap(), b'k');
                    assert!(key == 0 || had() - before <= 4, "{} turns before a keystroke was answered", had() - before);
                }
            };
            timeout(Duration::from_secs(10), keystrokes).await.unwrap();
            let (least, most) = (turns.iter().min().unwrap().get(), turns.iter().max().unwrap().get());
            assert!(least > 100 && most - least <= 1, "everybody has as many: {turns:?}");
        });
    }
}
