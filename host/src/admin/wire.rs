//! The JSON of the control plane, version 1.
//!
//! Owns every key; nothing else of the host derives `Serialize`. Converts by hand, so that a change
//! of a type inside is never a change of the interface by accident. Times are RFC 3339 in UTC,
//! durations milliseconds, digests whole.
//! Invariant: a released key keeps its name and its meaning; what is not known is `null`, never
//! left out.

use std::time::Duration;

use serde::Serialize;

pub(super) use self::{
    cells::{Cell, Cells, Keys, Removed},
    happened::{Event, History, Missed},
    order::{Deployed, Order, Orders, Reloaded},
    picture::{Plugin, Plugins, Status, Unwritable},
    upgrade::{LameDuck, LastUpgrade, Upgraded},
};
use crate::status;

mod cells;
mod happened;
mod order;
mod picture;
pub(super) mod time;
mod upgrade;

/// One refusal: `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub(super) struct Refusal<'a> {
    error: RefusalBody<&'a str>,
}

#[derive(Debug, Serialize)]
struct RefusalBody<T> {
    code: T,
    message: T,
    hint: Option<T>,
}

impl<'a> Refusal<'a> {
    pub(super) fn new(code: &'a str, message: &'a str, hint: Option<&'a str>) -> Self {
        Self { error: RefusalBody { code, message, hint } }
    }
}

/// `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Ready<'a> {
    ready: bool,
    stage: &'static str,
    why: Option<&'a str>,
    missing: &'a [String],
    unwritable: Option<Unwritable>,
}

impl<'a> Ready<'a> {
    pub(super) fn new(readiness: &'a status::Readiness) -> Self {
        let why = readiness.why_not();
        let (stage, missing) = (readiness.stage.as_str(), readiness.missing.as_slice());
        let unwritable = readiness.unwritable.as_ref().map(Unwritable::new);
        Self { ready: why.is_none(), stage, why, missing, unwritable }
    }
}

/// `/version`.
#[derive(Debug, Serialize)]
pub(super) struct Version<'a> {
    version: &'a str,
    abi: &'a str,
    pid: u32,
}

impl<'a> Version<'a> {
    pub(super) fn new(version: &'a str, abi: &'a str, pid: u32) -> Self {
        Self { version, abi, pid }
    }
}

/// One line of JSON, for streams.
pub(super) fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("wire types have text keys and finite numbers")
}

/// Whole milliseconds; the fractions matter for a swap, not for an age.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds to the microsecond.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
