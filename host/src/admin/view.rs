//! Pages that only show something.
//!
//! Owns what each of them takes from the backend. The forms are in [`super::text`] and
//! [`super::wire`].

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::Response,
};
use hotseat_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};
use serde::Deserialize;

use super::{
    Backend,
    answer::{Form, typed},
    condition,
    fault::Fault,
    order::named,
    text, wire,
};
use crate::{
    deploy::{condition::NOTHING, desk::ended},
    metrics::CONTENT_TYPE,
    status::OrderStatus,
    sys::clock::Now,
};

/// History lines where nobody says how many.
const HISTORY_COUNT: usize = 50;
/// The most that one page has.
const HISTORY_COUNT_MAX: usize = 10_000;

/// `GET /`: what `hotseat status` prints.
pub(super) async fn front(State(host): State<Backend>, form: Form) -> Response {
    let now = Now::read();
    let status = (host.status)().await;
    let from = &host.working_dir;
    let text = || text::status(&status, from, &now);
    form.answer(StatusCode::OK, text, || wire::Status::new(&status, from, &now))
}

/// `GET /v1/status`.
pub(super) async fn status(host: State<Backend>, form: Form) -> Response {
    front(host, form).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    limit: Option<usize>,
    before: Option<u64>,
}

/// `GET /v1/history?limit=&before=`, newest first.
pub(super) async fn history(
    State(host): State<Backend>,
    form: Form,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Response {
    let (limit, before) = match query {
        Ok(Query(HistoryQuery { limit, before })) => (limit.unwrap_or(HISTORY_COUNT), before),
        Err(_) => (0, None),
    };
    if !(1..=HISTORY_COUNT_MAX).contains(&limit) {
        let message = "the query is not understood";
        let hint = format!(
            "`?limit=` takes a number from 1 to {HISTORY_COUNT_MAX}, `?before=` the `id` of a line"
        );
        return Fault::new(StatusCode::BAD_REQUEST, "bad_query", message, hint).answer(form);
    }
    let lines = (host.history)(limit, before).await;
    form.answer(StatusCode::OK, || text::history(&lines), || wire::History::new(&lines))
}

/// `GET /v1/deploys`: running, waiting, and those that ended last.
pub(super) async fn deploys(State(host): State<Backend>, form: Form) -> Response {
    let orders = host.desk.orders();
    form.answer(StatusCode::OK, || text::orders(&orders), || wire::Orders::new(&orders))
}

/// `GET /v1/deploys/ID`.
pub(super) async fn deploy(
    State(host): State<Backend>,
    form: Form,
    number: Result<Path<u64>, PathRejection>,
) -> Response {
    let number = number.ok().map(|Path(number)| number);
    let Some(order) = found(&host, number).await else {
        let message = match number {
            Some(number) if (1..host.desk.next_number()).contains(&number) => {
                format!("order {number} is not known any more, or never ended")
            }
            _ => format!("there is no such order; the last one is {}", host.desk.next_number() - 1),
        };
        let hint = "`/v1/deploys` lists the last ones, `/v1/history` more of them";
        return Fault::new(StatusCode::NOT_FOUND, "no_such_order", message, hint).answer(form);
    };
    let object = || wire::Order::new(&order);
    form.answer(StatusCode::OK, || text::orders(std::slice::from_ref(&order)), object)
}

/// An order of this worker, or one that another worker has carried out.
async fn found(host: &Backend, number: Option<u64>) -> Option<OrderStatus> {
    let number = number?;
    let known = host.desk.orders().into_iter().find(|order| order.order == number);
    if known.is_some() {
        return known;
    }
    ended(&(host.order)(number).await?)
}

/// `GET /v1/plugins`.
pub(super) async fn plugins(State(host): State<Backend>, form: Form) -> Response {
    let plugins = (host.status)().await.plugins;
    form.answer(StatusCode::OK, || text::plugins(&plugins), || wire::Plugins::new(&plugins))
}

/// `GET /v1/plugins/NAME`.
pub(super) async fn plugin(
    State(host): State<Backend>,
    form: Form,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    let name = match named(name) {
        Ok(name) => name,
        Err(fault) => return fault.answer(form),
    };
    let Some(plugin) = (host.status)().await.plugins.into_iter().find(|plugin| plugin.name == name)
    else {
        let message = format!("there is no plugin `{name}`");
        let hint = "`hotseat status` lists the names";
        return Fault::new(StatusCode::NOT_FOUND, "no_such_plugin", message, hint).answer(form);
    };
    let object = || wire::Plugin::new(&plugin);
    let text = || text::plugins(std::slice::from_ref(&plugin));
    let mut response = form.answer(StatusCode::OK, text, object);
    let serving = plugin.active.as_ref().map_or(NOTHING, |active| active.generation);
    response.headers_mut().insert(header::ETAG, condition::tag(serving));
    response
}

/// `GET /metrics`.
pub(super) async fn metrics(State(host): State<Backend>) -> Response {
    typed(StatusCode::OK, CONTENT_TYPE, host.metrics.render(&(host.outline)()))
}

/// `GET /version`.
pub(super) async fn version(form: Form) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let abi = format!("{ABI_MAJOR}.{ABI_MINOR}");
    // Not the master's: whoever asks sees the process that answered.
    let pid = std::process::id();
    let text = || format!("hotseat {version} (plugin abi {abi}) pid {pid}\n");
    form.answer(StatusCode::OK, text, || wire::Version::new(version, &abi, pid))
}
