//! The plugins' settings, read anew.
//!
//! Owns the way from a request to the desk, and from what became of each plugin to an answer. Invariant:
//! a reload that is taken in is carried out, whether its client waits or leaves.

use axum::{Extension, body::Body, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;

use super::{
    Backend,
    answer::{Form, one_line},
    body,
    fault::Fault,
    serve::{Connection, peer_of},
    wire,
};
use crate::{deploy::reload::Reloaded, ids::Peer};

/// `POST /v1/reload-config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadWish {}

/// `POST /v1/reload-config`. The file is the one of the host.
pub(super) async fn post(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
    form: Form,
    body: Body,
) -> Response {
    let done = match body::read_object::<ReloadWish>(body).await {
        Ok(ReloadWish {}) => reload(&host, peer_of(connection)).await,
        Err(fault) => Err(fault),
    };
    match done {
        Ok(reloaded) => {
            let text = || {
                let lines = reloaded.lines().into_iter();
                lines.map(|line| one_line(&line) + "\n").collect::<String>()
            };
            form.answer(StatusCode::OK, text, || wire::Reloaded::new(&reloaded))
        }
        Err(fault) => fault.answer(form),
    }
}

async fn reload(host: &Backend, by: Option<Peer>) -> Result<Reloaded, Fault> {
    let answer = host.desk.reload(by).map_err(|error| Fault::of(&error))?;
    match answer.await {
        Ok(Ok(reloaded)) => Ok(reloaded),
        Ok(Err(refusal)) => Err(Fault::of(&*refusal)),
        Err(_) => Err(Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "order_lost",
            "the reload ended without an outcome",
            "`hotseat status` shows what serves; the log says more",
        )),
    }
}
