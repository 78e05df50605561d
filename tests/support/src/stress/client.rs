//! One client: acts that follow from its seed, over one protocol.
//!
//! Owns the order of the acts and where they are broken off. Invariant: each request is sent once.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    ask::{Ask, Point, ask},
    link::{CUTS, Cut, Sender, Wire},
    talk,
    truth::{End, List, Truth},
};
use crate::patience::{patience, within};

/// Requests side by side over HTTP/2.
const STREAMS: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) truth: Arc<Truth>,
    pub(super) address: SocketAddr,
    pub(super) random: StdRng,
    is_http2: bool,
    nonce: u64,
    wire: Option<Wire>,
    list: Arc<Mutex<List>>,
    appended: usize,
}

/// What one act came to, told.
pub(super) fn tell(truth: &Truth, kind: &'static str, came: Result<End, String>) -> End {
    let end = came.unwrap_or_else(|text| {
        truth.breaks(format!("{kind}: {text}"));
        End::Failed
    });
    truth.ends(kind, end);
    end
}

/// `act`, up to the point where the client breaks it off.
async fn until(
    point: Option<Point>,
    progress: &Notify,
    act: impl Future<Output = Result<End, String>>,
) -> Result<End, String> {
    let broken_off = async {
        match point {
            None => std::future::pending().await,
            Some(Point::After(time)) => tokio::time::sleep(time).await,
            Some(Point::Sent(_) | Point::Received(_)) => progress.notified().await,
        }
    };
    tokio::select! {
        biased;
        () = broken_off => Ok(End::Aborted),
        came = within(act) => {
            came.unwrap_or_else(|_| Err(format!("no answer within {:?}", patience())))
        }
    }
}

impl Client {
    /// The client `number` of a run, which no other run of the same seed has.
    pub(super) fn new(truth: Arc<Truth>, address: SocketAddr, seed: u64, number: u64) -> Self {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1 << 20) ^ number);
        Self {
            truth,
            address,
            random,
            is_http2: number % 2 == 1,
            nonce: number << 32,
            wire: None,
            list: Arc::default(),
            appended: 0,
        }
    }

    /// Acts until it is told to end.
    pub(super) fn run(mut self, ended: &AtomicBool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return self.truth.breaks(format!("a client's runtime: {error}")),
        };
        runtime.block_on(async {
            while !ended.load(SeqCst) {
                self.act().await;
            }
            if self.appended > 0 {
                self.remove_list().await;
            }
            if let Some(wire) = self.wire.take() {
                wire.cut(Cut::Close).await;
            }
        });
    }

    pub(super) fn next_nonce(&mut self) -> u64 {
        self.nonce += 1;
        self.nonce
    }

    async fn act(&mut self) {
        match self.random.random_range(0..100) {
            0..8 => talk::socket(self),
            8..14 => talk::raw(self),
            14..20 => talk::topic(self).await,
            20..24 => talk::news(self).await,
            _ if self.appended > 30 => self.remove_list().await,
            _ if self.is_http2 => self.side_by_side().await,
            _ => self.one().await,
        }
    }

    fn random_ask(&mut self) -> (Ask, Option<Point>) {
        let nonce = self.next_nonce();
        let ask = Ask::random(&mut self.random, nonce, &self.list);
        if ask.kind == "cell list" {
            self.appended += 1;
        }
        let point = self.random.random_ratio(1, 5).then(|| Point::random(&mut self.random, &ask));
        (ask, point)
    }

    /// The connection that is there, or another one.
    pub(super) async fn wire(&mut self) -> Option<Wire> {
        // Whatever the server has said meanwhile is heard first.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        match self.wire.take().filter(|wire| !wire.is_closed()) {
            Some(wire) => Some(wire),
            None => match Wire::open(self.address, self.is_http2).await {
                Ok(wire) => Some(wire),
                Err(text) => {
                    self.truth.breaks(text);
                    None
                }
            },
        }
    }

    /// Keeps it for the next request.
    pub(super) fn keep(&mut self, wire: Wire) {
        self.wire = Some(wire);
    }

    /// One request on a connection of HTTP/1.
    async fn one(&mut self) {
        let (request, point) = self.random_ask();
        let cut = CUTS[self.random.random_range(0..CUTS.len())];
        let Some(mut wire) = self.wire().await else { return };
        let progress = Arc::<Notify>::default();
        let act = ask(&self.truth, &mut wire.sender, &request, point, &progress);
        let end = tell(&self.truth, request.kind, until(point, &progress, act).await);
        match (end, point) {
            (End::Good, None) => self.keep(wire),
            _ => wire.cut(cut).await,
        }
    }

    /// Some requests on a connection of HTTP/2, of which each may be broken off by itself, or all of
    /// them at once.
    async fn side_by_side(&mut self) {
        let count = self.random.random_range(1..=STREAMS);
        let asks: Vec<_> = (0..count).map(|_| self.random_ask()).collect();
        let cut = CUTS[self.random.random_range(0..CUTS.len())];
        let all = self.random.random_ratio(1, 10).then(|| {
            let micros = self.random.random_range(0..20_000);
            Duration::from_micros(micros)
        });
        let Some(wire) = self.wire().await else { return };
        let Sender::Http2(sender) = &wire.sender else { return };
        let (gone, mut streams) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for (request, point) in asks {
            let (truth, sender, progress) =
                (self.truth.clone(), sender.clone(), Arc::<Notify>::default());
            let gone = gone.clone();
            streams.spawn(async move {
                let mut sender = Sender::Http2(sender);
                let act = ask(&truth, &mut sender, &request, point, &progress);
                let came = until(point, &progress, act).await;
                // What goes with its connection is broken off.
                let came = if gone.load(SeqCst) { came.or(Ok(End::Aborted)) } else { came };
                tell(&truth, request.kind, came)
            });
        }
        if let Some(time) = all {
            tokio::time::sleep(time).await;
            gone.store(true, SeqCst);
            wire.cut(cut).await;
            streams.join_all().await;
            return;
        }
        let ends = streams.join_all().await;
        match ends.iter().any(|end| matches!(end, End::Unsent | End::Failed)) {
            true => wire.cut(Cut::Close).await,
            false => self.keep(wire),
        }
    }

    async fn remove_list(&mut self) {
        let request = Ask::remove_list(self.next_nonce());
        let Some(mut wire) = self.wire().await else { return };
        let progress = Arc::<Notify>::default();
        let act = ask(&self.truth, &mut wire.sender, &request, None, &progress);
        let end = tell(&self.truth, request.kind, until(None, &progress, act).await);
        if end == End::Good {
            self.appended = 0;
            self.list.lock().unwrap_or_else(PoisonError::into_inner).removed();
            return self.keep(wire);
        }
        wire.cut(Cut::Close).await;
    }
}
