//! Connections as they come: accepted on every core from the same sockets, or handed over.
//!
//! Each core waits in its own runtime and hands what comes to the core with the fewest connections.

use std::{io, os::fd::OwnedFd, rc::Rc, time::Duration};

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::{
    connection,
    core::Core,
    mail::Message,
    passing,
    socket::{Accepted, Socket, accept_one, is_shortage},
};
use crate::sys;

/// How long accepting pauses when descriptors or connection slots have run out. Short, because
/// each end of a connection may free one.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// How often other tasks run before a place that is being made is waited for by the clock. One round
/// is enough on the same core.
const YIELDS: usize = 64;

/// Accepts on one core for ever; ends when its task is dropped. That happens at an `await` only,
/// where no accepted connection is in hand.
pub(super) async fn accept(core: Rc<Core>, socket: Socket) {
    let tcp = socket.is_tcp();
    let listener = match sys::readiness::readable(socket.into()) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, core = core.index, "this core cannot accept connections");
            return;
        }
    };
    let mut failing = false;
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        if core.balance.is_full(core.limits.connections_count) {
            make_room(&core).await;
            continue;
        }
        match accept_one(listener.get_ref(), tcp) {
            Ok(accepted) => {
                failing = false;
                place(&core, accepted);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(error) if is_shortage(error) => {
                // What waits in the backlog is served when something is free again.
                if !failing {
                    tracing::warn!(%error, "cannot accept for the moment");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
            }
            // The connection was gone before we took it: its own trouble.
            Err(error) => tracing::debug!(%error, "a connection failed before it was accepted"),
        }
    }
}

/// Has the connection closed that has been idle longest, on whatever core it is, and waits a moment
/// for its place.
async fn make_room(core: &Core) {
    let mut idlest = core.idlest().map(|(since, _)| (since, core.index));
    let others = (0..core.balance.cores()).filter(|other| *other != core.index);
    let asked = others.filter_map(|other| {
        let (answer, answered) = oneshot::channel();
        let blocked = core.balance.seats()[other].pulse().is_blocked();
        let sent = !blocked && core.balance.send(other, Message::Idlest(answer)).is_ok();
        sent.then_some((other, answered))
    });
    for (other, answered) in asked.collect::<Vec<_>>() {
        if let Ok(Ok(Some(since))) = tokio::time::timeout(PAUSE, answered).await
            && idlest.is_none_or(|(known, _)| since < known)
        {
            idlest = Some((since, other));
        }
    }
    match idlest {
        Some((_, here)) if here == core.index => core.evict(),
        Some((_, there)) => drop(core.balance.send(there, Message::Evict)),
        // All of them work: the newcomer waits in the backlog.
        None => return tokio::time::sleep(PAUSE).await,
    }
    for _ in 0..YIELDS {
        if !core.balance.is_full(core.limits.connections_count) {
            return;
        }
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(PAUSE).await;
}

/// Gives a connection to the core with the fewest, or keeps it.
pub(super) fn place(core: &Rc<Core>, accepted: Accepted) {
    let target = core.balance.choose();
    if target == core.index {
        connection::open(core, accepted);
    } else if let Err(accepted) = core.balance.hand_over(target, accepted) {
        core.balance.moved(target, core.index);
        connection::open(core, accepted);
    }
}

/// Serves what another process hands over, until it closes its end.
pub(super) async fn take_over(core: Rc<Core>, socket: OwnedFd) {
    let socket = match sys::readiness::readable(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, core = core.index, "this core cannot take connections over");
            return;
        }
    };
    let mut buf = vec![0; passing::DATAGRAM_BYTES_MAX];
    loop {
        let Ok(mut ready) = socket.readable().await else { return };
        match sys::passing::receive(socket.get_ref(), &mut buf) {
            Ok(None) => return,
            Ok(Some(received)) => {
                let len = received.len;
                let whole = received.descriptor.filter(|_| !received.truncated);
                match whole.and_then(|it| passing::restore(it, &buf[..len])) {
                    Some(accepted) => place(&core, accepted),
                    None => tracing::warn!(
                        len,
                        truncated = received.truncated,
                        "what was handed over is no connection"
                    ),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                tracing::warn!(%error, "no more connections can be taken over");
                return;
            }
        }
    }
}
