//! Orders: what changes the host.
//!
//! Owns the way from a request to the desk and from the desk's outcome to an answer. Invariant: an
//! order that is queued is carried out, whether its client waits or leaves. What serves after it is
//! the answer's entity tag.

use std::path::PathBuf;

use axum::{
    Extension,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::Response,
};
use serde::Deserialize;

use super::{
    Backend,
    answer::{Form, one_line},
    body,
    condition::{self, Expected},
    fault::Fault,
    serve::{Connection, peer_of},
    wire,
};
use crate::{
    deploy::{
        condition::{Condition, NOTHING},
        order::{Change, Deployed, Order, Source},
    },
    ids::{Generation, Peer, PluginName},
};

/// `POST /v1/deploys`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployWish {
    path: String,
    #[serde(default)]
    force: bool,
    if_generation: Option<u64>,
}

/// `POST /v1/rollback`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackWish {
    plugin: Option<String>,
    to: Option<u64>,
    if_generation: Option<u64>,
}

/// `DELETE /v1/plugins/NAME?if_generation=`, for those who cannot send a header.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnloadQuery {
    if_generation: Option<u64>,
}

/// `POST /` with a path.
pub(super) async fn post_path(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    expected: Expected,
    body: Body,
) -> Response {
    let wish =
        body::read_path(body).await.and_then(|path| Ok(deploy(path, false, expected.and(None)?)));
    carry_out(&host, peer_of(from), form, wish).await
}

/// `POST /v1/deploys`.
pub(super) async fn post_deploy(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    expected: Expected,
    body: Body,
) -> Response {
    let wish = body::read_object::<DeployWish>(body).await.and_then(|wish| {
        let DeployWish { path, force, if_generation } = wish;
        let path = body::path_of(path.as_bytes()).map_err(|error| Fault::of(&error))?;
        Ok(deploy(path, force, expected.and(if_generation)?))
    });
    carry_out(&host, peer_of(from), form, wish).await
}

/// `POST /v1/rollback`.
pub(super) async fn post_rollback(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    expected: Expected,
    body: Body,
) -> Response {
    let wish = body::read_object::<RollbackWish>(body).await.and_then(|wish| {
        let RollbackWish { plugin, to, if_generation } = wish;
        let plugin = plugin.as_deref().map(plugin_name).transpose()?;
        let condition = expected.and(if_generation)?;
        Ok(Order::Rollback { plugin, to: to.map(Generation), condition })
    });
    carry_out(&host, peer_of(from), form, wish).await
}

/// `DELETE /v1/plugins/NAME`.
pub(super) async fn delete_plugin(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    expected: Expected,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<UnloadQuery>, QueryRejection>,
) -> Response {
    let wish = named(name).and_then(|plugin| {
        let Query(UnloadQuery { if_generation }) = query.map_err(|_| {
            let hint = "`?if_generation=7` takes a number";
            Fault::new(StatusCode::BAD_REQUEST, "bad_query", "the query is not understood", hint)
        })?;
        Ok(Order::Unload { plugin, condition: expected.and(if_generation)? })
    });
    carry_out(&host, peer_of(from), form, wish).await
}

fn deploy(path: PathBuf, force: bool, condition: Condition) -> Order {
    Order::Deploy { path, force, source: Source::Control, condition }
}

/// The plugin that a path names.
pub(super) fn named(name: Result<Path<String>, PathRejection>) -> Result<PluginName, Fault> {
    // What cannot even be decoded is no name, and neither is an empty text.
    plugin_name(&name.map(|Path(name)| name).unwrap_or_default())
}

pub(super) fn plugin_name(text: &str) -> Result<PluginName, Fault> {
    text.parse().map_err(|error: crate::ids::IdError| {
        let hint = "`hotseat status` lists the names";
        Fault::new(StatusCode::BAD_REQUEST, "bad_name", error.to_string(), hint)
    })
}

async fn carry_out(
    host: &Backend,
    by: Option<Peer>,
    form: Form,
    wish: Result<Order, Fault>,
) -> Response {
    let done = match wish {
        Ok(order) => outcome(host, order, by).await,
        Err(fault) => Err(fault),
    };
    match done {
        Ok((number, deployed)) => {
            let object = || wire::Deployed::new(number, &deployed);
            let mut response = form.answer(StatusCode::OK, || said(&deployed), object);
            response.headers_mut().insert(header::ETAG, condition::tag(serves(&deployed)));
            response
        }
        Err(fault) => fault.answer(form),
    }
}

async fn outcome(host: &Backend, order: Order, by: Option<Peer>) -> Result<(u64, Deployed), Fault> {
    let ticket = host.desk.submit_by(order, by).map_err(|error| Fault::of(&error))?;
    match ticket.answer.await {
        Ok(Ok(deployed)) => Ok((ticket.order, deployed)),
        Ok(Err(refusal)) => Err(Fault::of(&*refusal)),
        Err(_) => Err(Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "order_lost",
            format!("order {} ended without an outcome", ticket.order),
            "`hotseat status` shows what serves; the log says more",
        )),
    }
}

/// What serves once the order was carried out.
fn serves(deployed: &Deployed) -> Generation {
    match deployed.change {
        Change::Unloaded => NOTHING,
        Change::Swapped | Change::AlreadyServes | Change::RolledBack => deployed.version.generation,
    }
}

fn said(deployed: &Deployed) -> String {
    let lines = std::iter::once(deployed.line()).chain(deployed.notes.iter().cloned());
    lines.map(|line| one_line(&line) + "\n").collect()
}
