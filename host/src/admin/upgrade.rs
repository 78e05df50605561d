//! What concerns the host as a whole: its upgrade, and whether it asks for traffic.
//!
//! Owns the way from a request to whoever leads the host, and from the outcome to an answer:
//!
//! | verdict | status | code |
//! |---|---|---|
//! | accepted | 202 | |
//! | ready, committed | 200 | |
//! | preflight, boot, probe, rolled back | 422 | `upgrade_preflight`, …, `upgrade_rolled_back` |
//! | busy | 409 | `upgrade_busy` |
//! | refused | 503 | `upgrade_refused` |
//!
//! 409 and not 429: nothing is queued, and only the end of what runs makes room.
//! Invariant: an upgrade that was taken goes on when its client leaves.

use std::path::{Path, PathBuf};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use serde::Deserialize;

use super::{
    Backend,
    answer::Form,
    body,
    fault::{CODE_HEADER, Fault},
    serve::{Connection, peer_of},
    text, wire,
};
use crate::upgrade::{Outcome, Request, Verdict, Wait};

/// `POST /v1/upgrade`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeWish {
    binary: Option<String>,
    config: Option<String>,
    #[serde(default)]
    wait: Wait,
}

/// `POST /v1/lame-duck`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LameDuckWish {
    on: bool,
}

/// `POST /v1/upgrade`. Without a body: binary and settings again from where they were.
pub(super) async fn post(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
    form: Form,
    body: Body,
) -> Response {
    let by = peer_of(connection);
    let wish = body::read_object::<UpgradeWish>(body).await.and_then(|wish| {
        let UpgradeWish { binary, config, wait } = wish;
        let from = &host.working_dir;
        let (binary, config) = (path(from, binary)?, path(from, config)?);
        Ok(Request { binary, config, wait, by })
    });
    match wish {
        Ok(request) => answer(&(host.upgrade)(request).await, form),
        Err(fault) => fault.answer(form),
    }
}

/// The leader's working directory need not be this one.
fn path(from: &Path, text: Option<String>) -> Result<Option<PathBuf>, Fault> {
    let path = |text: String| body::path_of(text.as_bytes()).map(|path| from.join(path));
    text.map(path).transpose().map_err(|error| Fault::of(&error))
}

fn answer(outcome: &Outcome, form: Form) -> Response {
    let (status, code) = match outcome.verdict {
        Verdict::Accepted => (StatusCode::ACCEPTED, None),
        Verdict::Ready | Verdict::Committed => (StatusCode::OK, None),
        Verdict::Preflight => (StatusCode::UNPROCESSABLE_ENTITY, Some("upgrade_preflight")),
        Verdict::Boot => (StatusCode::UNPROCESSABLE_ENTITY, Some("upgrade_boot")),
        Verdict::Probe => (StatusCode::UNPROCESSABLE_ENTITY, Some("upgrade_probe")),
        Verdict::RolledBack => (StatusCode::UNPROCESSABLE_ENTITY, Some("upgrade_rolled_back")),
        Verdict::Busy => (StatusCode::CONFLICT, Some("upgrade_busy")),
        Verdict::Refused => (StatusCode::SERVICE_UNAVAILABLE, Some("upgrade_refused")),
    };
    // The code is the last line of every refusal.
    let last = code.map_or_else(String::new, |code| format!("code: {code}\n"));
    let text = || text::outcome(outcome) + &last;
    let mut response = form.answer(status, text, || wire::Upgraded::new(outcome, code));
    if let Some(code) = code {
        response.headers_mut().insert(CODE_HEADER, HeaderValue::from_static(code));
    }
    response
}

/// `GET /v1/upgrade`: how the last one ended.
pub(super) async fn get(State(host): State<Backend>, form: Form) -> Response {
    let last = (host.outline)().upgrade;
    let text = || last.as_ref().map_or_else(|| "no upgrade yet\n".to_owned(), text::outcome);
    form.answer(StatusCode::OK, text, || wire::LastUpgrade::new(last.as_ref()))
}

/// `POST /v1/lame-duck`.
pub(super) async fn post_lame_duck(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
    form: Form,
    body: Body,
) -> Response {
    let on = match body::read_object::<LameDuckWish>(body).await {
        Ok(LameDuckWish { on }) => on,
        Err(fault) => return fault.answer(form),
    };
    if !(host.lame_duck)(on, peer_of(connection)).await {
        let why = (host.ready)().why_not().unwrap_or("its stage has just changed");
        let message = format!("the switch has no effect now: {why}");
        let hint = "`hotseat status` shows what the host is at";
        return Fault::new(StatusCode::SERVICE_UNAVAILABLE, "not_serving", message, hint)
            .answer(form);
    }
    let line = if on {
        "the host is a lame duck: it serves everything, and /readyz asks for no more"
    } else {
        "the host is no lame duck: /readyz says what is"
    };
    form.answer(StatusCode::OK, || format!("{line}\n"), || wire::LameDuck::new(on, line))
}
