//! Logs by `tracing`, by `log` and by printing, in a request, in its body and in tasks beside it.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Extension, routing::get};
use bytes::Bytes;
use futures_util::stream;
use hotseat_plugin_api::{Context, RequestInfo, Result, export_axum};
use tracing::{Instrument as _, info_span};

#[derive(Debug, Clone, Copy)]
struct Shape {
    _sides: u8,
}

/// Every kind of value, in two spans, the inner one with a value that comes later.
async fn events() -> &'static str {
    let outer = info_span!("outer", user = 7, note = "a b");
    let _outer = outer.enter();
    let inner = info_span!("inner", late = tracing::field::Empty);
    inner.record("late", 1.5);
    let _inner = inner.enter();
    let error = std::io::Error::other("no disk");
    tracing::warn!(
        target: "notes::db",
        count = 3_u64,
        offset = -4,
        share = 0.5,
        open = true,
        shape = ?Shape { _sides: 3 },
        text = "it \"is\"",
        error = &error as &(dyn std::error::Error + 'static),
        "saved {} rows",
        2
    );
    tracing::debug!(target: "notes::db", "deep");
    tracing::trace!("deeper");
    "told"
}

async fn records() -> &'static str {
    let _span = info_span!("around").entered();
    log::info!(target: "old::dependency", user = "ann", size = 4_u64; "was {}", "here");
    log::debug!(target: "old::dependency", "deep record");
    "told"
}

/// With its span a task belongs to its request, without it to none.
async fn tasks() -> &'static str {
    let known = tokio::spawn(async { tracing::info!("in a span") }.instrument(info_span!("task")));
    let unknown = tokio::spawn(async { tracing::info!("in none") });
    // Neither panics.
    let _ = (known.await, unknown.await);
    "told"
}

/// A span of another subscriber's, and one that is left without its end.
async fn foreign() -> &'static str {
    let theirs = {
        let _other = tracing::subscriber::set_default(tracing_subscriber::registry());
        info_span!("theirs")
    };
    let ours = info_span!(parent: &theirs, "ours");
    tracing::info!(parent: &theirs, "of a foreign span");
    tracing::info!(parent: &ours, "below a foreign span");
    let kept = info_span!("kept");
    // As a task that nobody drops any more keeps it.
    let _left = std::mem::ManuallyDrop::new(kept.clone().entered());
    drop(kept);
    tracing::info!("in what was left");
    "told"
}

/// Each piece of it.
async fn body() -> Body {
    let pieces = stream::iter(0..2).map_piece();
    Body::from_stream(pieces)
}

trait Pieces: stream::Stream<Item = u8> + Sized {
    fn map_piece(self) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
        futures_util::StreamExt::map(self, |number| {
            tracing::info!(number, "a piece");
            Ok(Bytes::from(format!("{number}")))
        })
    }
}

impl<S: stream::Stream<Item = u8>> Pieces for S {}

/// In pieces, and from several threads at once.
async fn prints() -> &'static str {
    print!("printed in ");
    println!("two pieces");
    let (how, what) = ("just", "error");
    eprintln!("printed {how} as an {what}");
    let threads = [1, 2].map(|it| std::thread::spawn(move || println!("printed by thread {it}")));
    for thread in threads {
        // A thread that only prints does not panic.
        let _ = thread.join();
    }
    "told"
}

async fn context(Extension(info): Extension<RequestInfo>) -> String {
    info.context().warn("by the context", &[("x", &1)]);
    info.id().to_string()
}

fn app(surroundings: &Context) -> Result<Router> {
    tracing::info!(preflight = surroundings.is_preflight(), "made");
    log::info!("a record of whoever makes it");
    println!("printed in new");
    let routes = Router::new()
        .route("/events", get(events))
        .route("/records", get(records))
        .route("/tasks", get(tasks))
        .route("/body", get(body))
        .route("/foreign", get(foreign))
        .route("/prints", get(prints))
        .route("/context", get(context));
    Ok(routes)
}

export_axum!(app);
