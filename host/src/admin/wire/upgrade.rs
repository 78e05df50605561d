//! The host as a whole as JSON: its processes, its upgrades, its lame duck.
//!
//! Owns the keys of `/v1/upgrade`, `/v1/lame-duck`, and of `processes` and `connections` in
//! `/v1/status`.

use serde::Serialize;

use super::{RefusalBody, time::rfc3339, whole_ms};
use crate::{
    admin::answer::lines,
    status,
    sys::clock::Now,
    upgrade::{Outcome, Verdict},
};

/// `GET /v1/upgrade`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct LastUpgrade {
    upgrade: Option<Upgrade>,
}

impl LastUpgrade {
    pub(in crate::admin) fn new(outcome: Option<&Outcome>) -> Self {
        Self { upgrade: outcome.map(Upgrade::new) }
    }
}

/// The answer to `POST /v1/upgrade`: with `error` where it did not work.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Upgraded {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RefusalBody<String>>,
    upgrade: Upgrade,
}

impl Upgraded {
    pub(in crate::admin) fn new(outcome: &Outcome, code: Option<&'static str>) -> Self {
        let upgrade = Upgrade::new(outcome);
        let (text, hint) = (&upgrade.text, &upgrade.hint);
        let refusal = |code: &str| RefusalBody {
            code: code.to_owned(),
            message: text.clone(),
            hint: hint.clone(),
        };
        Self { error: code.map(refusal), upgrade }
    }
}

/// How one upgrade ended.
#[derive(Debug, Serialize)]
pub(super) struct Upgrade {
    verdict: &'static str,
    text: String,
    hint: Option<String>,
    old_pid: Option<u32>,
    new_pid: Option<u32>,
    binary: Option<String>,
    took_ms: u64,
    at: String,
}

impl Upgrade {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let Outcome { verdict, text, hint, old_pid, new_pid, binary, took, at } = outcome;
        Self {
            verdict: Verdict::as_str(*verdict),
            text: lines(text),
            hint: hint.as_deref().map(lines),
            old_pid: *old_pid,
            new_pid: *new_pid,
            binary: binary.clone(),
            took_ms: whole_ms(*took),
            at: rfc3339(*at),
        }
    }
}

/// The answer to `POST /v1/lame-duck`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct LameDuck {
    lame_duck: bool,
    text: &'static str,
}

impl LameDuck {
    pub(in crate::admin) fn new(lame_duck: bool, text: &'static str) -> Self {
        Self { lame_duck, text }
    }
}

/// One process of the host.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    pid: u32,
    role: String,
    number: u64,
    version: String,
    binary: Option<String>,
    from_memory: bool,
    since: String,
    up_ms: Option<u64>,
    connections: Classes,
}

impl Process {
    pub(super) fn new(process: &status::ProcessStatus, now: &Now) -> Self {
        let status::ProcessStatus {
            pid,
            role,
            number,
            version,
            binary,
            from_memory,
            since,
            up_from,
            connections,
        } = process;
        Self {
            pid: *pid,
            role: role.clone(),
            number: *number,
            version: version.clone(),
            binary: binary.clone(),
            from_memory: *from_memory,
            since: rfc3339(*since),
            up_ms: up_from.map(|from| whole_ms(now.boot.saturating_sub(from))),
            connections: Classes::new(*connections),
        }
    }
}

/// Data connections by what they are at.
#[derive(Debug, Serialize)]
pub(super) struct Classes {
    fresh: usize,
    head: usize,
    idle: usize,
    busy: usize,
    h2: usize,
    upgraded: usize,
}

impl Classes {
    pub(super) fn new(classes: status::Classes) -> Self {
        let status::Classes { fresh, head, idle, busy, h2, upgraded } = classes;
        Self { fresh, head, idle, busy, h2, upgraded }
    }
}
