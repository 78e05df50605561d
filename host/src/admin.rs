//! The control plane: where the host is updated and asked.
//!
//! Owns the routes, who may call them, and both forms of every answer (text for people, JSON for
//! programs). Every change goes to the desk as an order; nothing here loads, swaps or decides.
//! Entry points: [`router`] for the control plane, [`health_router`] for a listener that load
//! balancers on other machines reach, [`serve()`] for both.
//! Invariant: a change is answered with success only after the desk said that it is done.

use std::{fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get, routing::post};

pub use self::{
    events::EventPlaces,
    forward::{Elsewhere, Relay},
    serve::{Connection, Door, Listener, Transport, serve},
};
use crate::{
    cells::Cells,
    deploy::desk::Desk,
    event::Events,
    ids::Peer,
    metrics::Metrics,
    state::history::Entry,
    status::{Readiness, Status},
    upgrade::{Outcome, Request},
};

mod answer;
mod body;
mod cells;
mod condition;
mod events;
mod fault;
mod forward;
mod guard;
mod health;
mod order;
mod reload;
mod serve;
mod text;
mod upgrade;
mod view;
mod wire;

/// An answer that somebody else works out: the thread of the control plane does not wait for it.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The picture of the host, made anew for each call.
pub type StatusSource = Arc<dyn Fn() -> Later<Status> + Send + Sync>;

/// The picture without who is in flight, at once.
pub type OutlineSource = Arc<dyn Fn() -> Status + Send + Sync>;

/// Whether traffic should be sent here, at once.
pub type ReadySource = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// What was done last, newest first, at most as many lines as asked for; of those before the given
/// one.
pub type HistorySource = Arc<dyn Fn(usize, Option<u64>) -> Later<Vec<Entry>> + Send + Sync>;

/// How the order of a number ended, also when another worker carried it out.
pub type OrderSource = Arc<dyn Fn(u64) -> Later<Option<Entry>> + Send + Sync>;

/// Asks the process that leads this one for an upgrade. Answered as late as the request waits.
pub type UpgradeDesk = Arc<dyn Fn(Request) -> Later<Outcome> + Send + Sync>;

/// Makes the host a lame duck, or takes that back, for whoever asks; answered once it is so. False:
/// it is stopping.
pub type LameDuckSwitch = Arc<dyn Fn(bool, Option<Peer>) -> Later<bool> + Send + Sync>;

/// Everything that the control plane shows and everybody it asks.
#[derive(Clone)]
pub struct Backend {
    /// Takes orders.
    pub desk: Desk,
    /// What happens, as it happens.
    pub events: Events,
    /// How many may listen to that at one time.
    pub event_places: EventPlaces,
    /// What is.
    pub status: StatusSource,
    /// What is, but for who is in flight; for `/metrics`.
    pub outline: OutlineSource,
    /// Whether it is ready.
    pub ready: ReadySource,
    /// What was.
    pub history: HistorySource,
    /// What became of an order.
    pub order: OrderSource,
    /// What plugins keep.
    pub cells: Arc<Cells>,
    /// The counters that `/metrics` prints.
    pub metrics: Arc<Metrics>,
    /// Where upgrades are asked for.
    pub upgrade: UpgradeDesk,
    /// The switch of `/readyz`.
    pub lame_duck: LameDuckSwitch,
    /// What `/readyz` of a lame duck answers: 503 or 404.
    pub lame_status: u16,
    /// Says which requests another worker answers.
    pub relay: Relay,
    /// What a posted relative path is relative to.
    pub working_dir: PathBuf,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("working_dir", &self.working_dir).finish_non_exhaustive()
    }
}

/// The routes of the control plane. Requests need a [`Connection`] among their extensions, which
/// [`serve()`] puts there; without one they count as TCP from nowhere.
pub fn router(backend: Backend) -> Router {
    Router::new()
        .route("/", get(view::front).post(order::post_path))
        .route("/v1/status", get(view::status))
        .route("/v1/history", get(view::history))
        .route("/v1/deploys", get(view::deploys).post(order::post_deploy))
        .route("/v1/deploys/{order}", get(view::deploy))
        .route("/v1/rollback", post(order::post_rollback))
        .route("/v1/plugins", get(view::plugins))
        .route("/v1/plugins/{name}", get(view::plugin).delete(order::delete_plugin))
        .route("/v1/cells", get(cells::all))
        .route("/v1/cells/{name}", get(cells::keys).delete(cells::remove_all))
        .route("/v1/cells/{name}/{*key}", get(cells::value).delete(cells::remove))
        .route("/v1/upgrade", get(upgrade::get).post(upgrade::post))
        .route("/v1/lame-duck", post(upgrade::post_lame_duck))
        .route("/v1/reload-config", post(reload::post))
        .route("/v1/events", get(events::stream))
        .route("/metrics", get(view::metrics))
        .route("/version", get(view::version))
        .merge(health::routes(Arc::clone(&backend.ready), backend.lame_status))
        .fallback(fault::not_found)
        .method_not_allowed_fallback(fault::wrong_method)
        // Bodies are bounded where they are read, with a refusal of our own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(backend.relay.clone(), forward::relay))
        .layer(middleware::from_fn(guard::check))
        .with_state(backend)
}

/// `/livez` and `/readyz` alone, for whoever asks by whatever name.
pub fn health_router(ready: ReadySource, lame_status: u16) -> Router {
    health::routes(ready, lame_status)
        .fallback(fault::not_found)
        .method_not_allowed_fallback(fault::wrong_method)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
