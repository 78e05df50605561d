//! Bodies of requests, read on every kind of thread, and answers that stream.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
    http::StatusCode,
};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{runtime::Handle, sync::mpsc};

use super::{Answer, App, failed};

/// Pieces that wait between a task and an answer.
const WAITING: usize = 4;

#[derive(Default)]
struct Sum {
    length: usize,
    sha256: Sha256,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.sha256.update(bytes);
    }

    fn text(self) -> String {
        let mut text = format!("{} ", self.length);
        for byte in self.sha256.finalize() {
            text += &format!("{byte:02x}");
        }
        text
    }
}

/// Up to `most` bytes of it.
async fn digest(mut body: Body, most: usize) -> Result<String, axum::Error> {
    let mut sum = Sum::default();
    while sum.length < most {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            sum.add(&data[..data.len().min(most - sum.length)]);
        }
    }
    Ok(sum.text())
}

/// Its client's fault.
fn broken(error: axum::Error) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}

pub(super) async fn in_handler(body: Body) -> Answer<String> {
    digest(body, usize::MAX).await.map_err(broken)
}

pub(super) async fn in_task(body: Body) -> Answer<String> {
    let read = tokio::spawn(digest(body, usize::MAX));
    read.await.map_err(failed)?.map_err(broken)
}

pub(super) async fn on_thread(body: Body) -> Answer<String> {
    let read = || Handle::current().block_on(digest(body, usize::MAX));
    tokio::task::spawn_blocking(read).await.map_err(failed)?.map_err(broken)
}

/// Read here, and summed up by the host's pool.
pub(super) async fn on_pool(State(app): State<Arc<App>>, body: Bytes) -> Answer<String> {
    let summed = app.context.blocking(move || {
        let mut sum = Sum::default();
        sum.add(&body);
        sum.text()
    });
    summed.await.map_err(failed)
}

#[derive(Deserialize)]
pub(super) struct Most {
    most: usize,
}

/// Answers without the rest.
pub(super) async fn half(Query(Most { most }): Query<Most>, body: Body) -> Answer<String> {
    digest(body, most).await.map_err(broken)
}

pub(super) async fn echo(body: Body) -> Body {
    Body::from_stream(body.into_data_stream())
}

pub(super) async fn echo_by_task(body: Body) -> Body {
    let (pieces, mut taken) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
    });
    Body::from_stream(stream::poll_fn(move |cx| taken.poll_recv(cx)))
}

#[derive(Deserialize)]
pub(super) struct Made {
    seed: u64,
    bytes: usize,
}

/// Bytes that follow from a seed: eight at a time, of splitmix64.
struct Maker {
    state: u64,
    left: usize,
}

impl Maker {
    fn new(Made { seed, bytes }: Made) -> Self {
        Self { state: seed, left: bytes }
    }

    fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// The next piece, of a length by chance; `None` behind the last.
    fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let words = 1 + usize::try_from(self.state % 1500).unwrap_or(0);
        let mut piece = Vec::with_capacity(8 * words);
        (0..words).for_each(|_| piece.extend(self.next_word().to_le_bytes()));
        piece.truncate(self.left);
        self.left -= piece.len();
        Some(piece.into())
    }
}

pub(super) async fn stream(Query(made): Query<Made>) -> Body {
    let mut maker = Maker::new(made);
    let pieces = std::iter::from_fn(move || maker.piece());
    Body::from_stream(stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(piece)
    }))
}

pub(super) async fn stream_by_task(Query(made): Query<Made>) -> Body {
    let (pieces, mut taken) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut maker = Maker::new(made);
        while let Some(piece) = maker.piece() {
            if pieces.send(Ok::<_, Infallible>(piece)).await.is_err() {
                break;
            }
        }
    });
    Body::from_stream(stream::poll_fn(move |cx| taken.poll_recv(cx)))
}

#[derive(Deserialize)]
pub(super) struct To {
    to: u64,
}

/// On the host's pool.
pub(super) async fn sum(
    State(app): State<Arc<App>>,
    Query(To { to }): Query<To>,
) -> Answer<String> {
    let sum = app.context.blocking(move || (1..=to).fold(0_u64, u64::wrapping_add));
    Ok(sum.await.map_err(failed)?.to_string())
}
