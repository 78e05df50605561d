//! Orders and their outcomes as JSON.
//!
//! Owns the keys of `/v1/deploys` and of the answer to every order.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ms;
use crate::{
    deploy::{order, reload},
    ids::PluginName,
    status::OrderStatus,
};

/// `/v1/deploys`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Orders {
    orders: Vec<Order>,
}

impl Orders {
    pub(in crate::admin) fn new(orders: &[OrderStatus]) -> Self {
        Self { orders: orders.iter().map(Order::new).collect() }
    }
}

/// `/v1/deploys/ID`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Order {
    order: u64,
    verb: &'static str,
    subject: String,
    state: &'static str,
    outcome: Option<String>,
}

impl Order {
    pub(in crate::admin) fn new(order: &OrderStatus) -> Self {
        let OrderStatus { order, verb, subject, state, outcome } = order;
        let (subject, outcome) = (subject.clone(), outcome.clone());
        Self { order: *order, verb, subject, state, outcome }
    }
}

/// An order that was carried out.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Deployed {
    order: u64,
    change: &'static str,
    plugin: String,
    generation: u64,
    label: String,
    digest: String,
    previous: Option<Version>,
    from: Option<u64>,
    preflight_ms: f64,
    swapped_in_ms: f64,
    notes: Vec<String>,
    text: String,
}

/// A reload that was carried out. Its deploys have no number of their own.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Reloaded {
    deployed: Vec<Deployed>,
    unchanged: Vec<String>,
    not_loaded: BTreeMap<String, String>,
    ruled: Vec<String>,
    unknown: Vec<String>,
    needs_upgrade: Vec<String>,
    text: String,
}

impl Reloaded {
    pub(in crate::admin) fn new(reloaded: &reload::Reloaded) -> Self {
        let text = reloaded.lines().join("\n");
        let reload::Reloaded { deployed, unchanged, not_loaded, ruled, unknown, needs_upgrade } =
            reloaded;
        let names = |plugins: &[PluginName]| plugins.iter().map(ToString::to_string).collect();
        let not_loaded = not_loaded.iter().map(|(plugin, why)| (plugin.to_string(), why.clone()));
        Self {
            deployed: deployed.iter().map(|it| Deployed::new(0, it)).collect(),
            unchanged: names(unchanged),
            ruled: names(ruled),
            unknown: names(unknown),
            not_loaded: not_loaded.collect(),
            needs_upgrade: needs_upgrade.clone(),
            text,
        }
    }
}

#[derive(Debug, Serialize)]
struct Version {
    generation: u64,
    label: String,
    digest: String,
}

impl Version {
    fn new(version: &crate::ids::Version) -> Self {
        let crate::ids::Version { generation, label, digest } = version;
        Self {
            generation: generation.0,
            label: label.as_str().to_owned(),
            digest: digest.to_string(),
        }
    }
}

impl Deployed {
    pub(in crate::admin) fn new(number: u64, deployed: &order::Deployed) -> Self {
        let text = deployed.line();
        let order::Deployed {
            change,
            plugin,
            version,
            previous,
            from,
            preflight,
            swapped_in,
            notes,
        } = deployed;
        let Version { generation, label, digest } = Version::new(version);
        Self {
            order: number,
            change: change.as_str(),
            plugin: plugin.to_string(),
            generation,
            label,
            digest,
            previous: previous.as_ref().map(Version::new),
            from: from.map(|from| from.0),
            preflight_ms: ms(*preflight),
            swapped_in_ms: ms(*swapped_in),
            notes: notes.clone(),
            text,
        }
    }
}
