//! What a worker is given before it comes up: orders and descriptors, put in their places.

use std::{
    ffi::OsString,
    fs::File,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::Parse;
use crate::{
    config::{Config, Listen, raw::file::FileText},
    deploy::{
        settings::{Origin, remembered},
        standing::Standing,
    },
    ids::Digest,
    link::{Boot, Channel, Order, Place, Received, Veiled},
    serve::Socket,
    state::Manifest,
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
                newborn = Some(Newborn { boot: *boot, sockets, page, stderr, carried });
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

/// Names that begin at the working directory lead where they did at the start of the host, whatever
/// has become of that directory.
pub(super) fn keep_place(config: &mut Config, place: Option<&Place>) -> anyhow::Result<()> {
    match place {
        Some(Place { working_dir, state_dir, .. }) => {
            config.state_dir.clone_from(state_dir);
            let here = std::env::current_dir().unwrap_or_else(|_| working_dir.clone());
            config.plugins_dir = config.plugins_dir.take().map(|dir| here.join(dir));
        }
        // A master of before it said so.
        None => {
            let absolute = std::path::absolute(&config.state_dir);
            config.state_dir = absolute.context("find the state folder")?;
        }
    }
    Ok(())
}

/// The plugins' own settings as the worker before had them, which `config` gets the tables of, and where
/// they come from; `read` says which reading of the file this is, if the master keeps what grows from it.
pub(super) fn settings_of(
    config: &mut Config,
    standing: Option<Veiled>,
    (args, parse): (&[OsString], Parse),
    (read, file): (Option<String>, FileText),
) -> (Standing, Option<Origin>) {
    let mut standing = standing.and_then(|it| Standing::parse(&it.0)).unwrap_or_default();
    if let Some(reloaded) = standing.file.clone() {
        match parse(args, Some(reloaded)) {
            Ok((loaded, _)) => config.plugins = loaded.config.plugins,
            // It was understood by this very binary.
            Err(error) => {
                tracing::error!(%error, "going on with the plugins' settings of before the reload");
                standing = Standing::default();
            }
        }
    }
    let args = args.to_vec();
    let reread = remembered(move || parse(&args, None));
    (standing, read.map(|_| Origin { file, reread }))
}

/// The manifest among what was carried here.
pub(super) fn take_manifest(
    carried: &mut Vec<(Digest, OwnedFd)>,
    digest: Option<&str>,
) -> Option<Manifest> {
    let file = File::from(take_named(carried, digest)?);
    let mut text = vec![0; usize::try_from(file.metadata().ok()?.len()).ok()?];
    // By position: the offset is shared with every process that has this file open.
    file.read_exact_at(&mut text, 0).ok()?;
    Manifest::from_text(&text)
}

/// The file among what was carried here by a digest, or by a name in the place of one.
pub(super) fn take_named(
    carried: &mut Vec<(Digest, OwnedFd)>,
    name: Option<&str>,
) -> Option<OwnedFd> {
    let name: Digest = name?.parse().ok()?;
    let at = carried.iter().position(|(it, _)| *it == name)?;
    Some(carried.swap_remove(at).1)
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
