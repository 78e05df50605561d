//! Bodies: what is sent, in pieces by chance, and the bytes that both sides make of a seed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::Notify,
    time::{Sleep, sleep},
};

/// Pieces that one body is sent in, about.
const PIECES: usize = 200;

/// How a body is sent.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    seed: u64,
    pub(super) length: usize,
    /// Its length is said before.
    sized: bool,
    /// No piece is longer.
    piece: usize,
    /// Of so many pieces one is followed by a pause.
    pause: Option<u32>,
}

impl Plan {
    /// By chance: half of them are small.
    pub(super) fn random(random: &mut StdRng) -> Self {
        let most = *[0, 1, 100, 5000, 70_000, 300_000, 1 << 20]
            .get(random.random_range(0..7))
            .unwrap_or(&0);
        let length = random.random_range(0..=most);
        let piece = [usize::MAX, 64 << 10, 8 << 10, 500][random.random_range(0..4)];
        Self {
            seed: random.random(),
            length,
            sized: random.random(),
            piece: piece.max(length / PIECES).max(1),
            pause: random.random_ratio(1, 3).then_some(8),
        }
    }

    /// Nothing.
    pub(super) fn empty() -> Self {
        Self { seed: 0, length: 0, sized: true, piece: 1, pause: None }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> Bytes {
        made(self.seed, self.length)
    }

    /// As the body of a request. Behind `halt` bytes it sends no more, and says so.
    pub(super) fn upload(&self, halt: Option<usize>, halted: Arc<Notify>) -> Upload {
        let random = StdRng::seed_from_u64(self.seed);
        let (plan, left) = (self.clone(), self.bytes());
        let halt = halt.filter(|halt| *halt < self.length);
        Upload { plan, left, halt, halted, random, pause: None }
    }
}

/// Bytes that follow from a seed: eight at a time, of splitmix64, as the plugin makes them.
pub(super) fn made(seed: u64, length: usize) -> Bytes {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Upload {
    plan: Plan,
    left: Bytes,
    halt: Option<usize>,
    halted: Arc<Notify>,
    random: StdRng,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let sent = self.plan.length - self.left.len();
        let mut most = self.plan.piece.min(self.left.len());
        if let Some(halt) = self.halt {
            if sent == halt {
                self.halted.notify_one();
                // Whoever was told drops it.
                return Poll::Pending;
            }
            most = most.min(halt - sent);
        }
        let length = self.random.random_range(1..=most);
        if let Some(ratio) = self.plan.pause
            && self.random.random_ratio(1, ratio)
        {
            let time = Duration::from_micros(self.random.random_range(0..2000));
            self.pause = Some(Box::pin(sleep(time)));
        }
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.plan.sized {
            true => SizeHint::with_exact(u64::try_from(self.left.len()).unwrap_or(u64::MAX)),
            false => SizeHint::default(),
        }
    }
}
