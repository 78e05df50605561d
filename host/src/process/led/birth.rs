//! What a worker is given before it comes up: orders and descriptors, put in their places.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    config::Listen,
    ids::Digest,
    link::{Boot, Channel, Order, Received},
    serve::Socket,
    worker::Sockets,
};

/// How long a master may take to say what a worker begins with.
const BIRTH_TIME: Duration = Duration::from_secs(30);

/// Everything that a worker begins with.
pub(super) struct Newborn {
    pub(super) boot: Boot,
    pub(super) sockets: Vec<OwnedFd>,
    /// For a note if the worker dies of a fault.
    pub(super) page: OwnedFd,
    /// To be used instead of the first one once the worker could serve.
    pub(super) stderr: OwnedFd,
    pub(super) carried: Vec<(Digest, OwnedFd)>,
}

/// Hears what there is to begin with, up to the order to start.
pub(super) fn listen_to_master(channel: &Channel) -> anyhow::Result<Newborn> {
    let until = Instant::now() + BIRTH_TIME;
    let mut newborn = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        anyhow::ensure!(!left.is_zero(), "the master does not say what to begin with");
        match channel.receive_within(left).context("listen to the master")? {
            Received::Message(Order::Boot(boot), mut given) => {
                let stderr = given.pop().context("the master gives no standard error")?;
                let page = given.pop().context("the master gives no page for notes")?;
                let (sockets, carried) = (given, Vec::new());
                newborn = Some(Newborn { boot, sockets, page, stderr, carried });
            }
            Received::Message(Order::Carry { digests }, given) => {
                let Some(newborn) = &mut newborn else { continue };
                for (digest, bytes) in digests.iter().zip(given) {
                    newborn.carried.push((digest.parse().context("read a digest")?, bytes));
                }
            }
            Received::Message(Order::Start, _) => {
                return newborn.context("the master says nothing to begin with");
            }
            Received::Message(order, _) => tracing::debug!(order = order.name(), "not yet"),
            Received::Garbled(error) => anyhow::bail!("the master is not understood: {error}"),
            Received::Closed => anyhow::bail!("the master is gone"),
            Received::Nothing => {}
        }
    }
}

/// The sockets that descriptors are, by plane.
pub(super) fn sockets_of(
    given: Vec<OwnedFd>,
    listen: &[Vec<Listen>; 3],
) -> anyhow::Result<Sockets> {
    let wanted: usize = listen.iter().map(Vec::len).sum();
    anyhow::ensure!(wanted == given.len(), "{wanted} sockets are named, {} given", given.len());
    let mut given = given.into_iter();
    let mut take = |list: &[Listen]| -> anyhow::Result<Vec<Socket>> {
        let sockets = list.iter().zip(given.by_ref().take(list.len()));
        let adopted = sockets.map(|(listen, given)| Socket::adopt(given, listen));
        adopted.collect::<Result<_, _>>().context("take a listener over")
    };
    let [data, control, health] = listen;
    Ok(Sockets { data: take(data)?, control: take(control)?, health: take(health)? })
}
