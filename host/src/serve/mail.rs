//! What other threads ask of a data thread.

use std::{os::fd::OwnedFd, sync::mpsc::SyncSender};

use tokio::sync::oneshot;

use hotseat_unload::purge::PurgeRequest;

use super::{clock::Moment, pulse::Doing, socket::Socket};
use crate::{
    ids::Generation,
    status::{Classes, Holder},
};

/// What other threads ask of a data thread.
pub(super) enum Message {
    /// Show that the thread turns.
    Turn,
    /// Accept from these sockets too.
    Accept(Vec<Socket>),
    /// Serve the next of the connections that wait for this thread.
    Serve,
    /// There is a new table.
    Refresh,
    /// Purge this thread of a library.
    Purge(PurgeRequest),
    /// Say who is in flight.
    Holders(SyncSender<Vec<(Generation, Holder)>>),
    /// Say what the connections are at.
    Classes(SyncSender<Classes>),
    /// Say since when the longest idle connection has been idle.
    Idlest(oneshot::Sender<Option<Moment>>),
    /// Close the longest idle connection: somebody needs its place.
    Evict,
    /// End what still holds this generation.
    Cut(Generation),
    /// End whatever is in flight; say how much it was.
    CutAll(SyncSender<usize>),
    /// Accept no more, close the listeners and say so. Connections go on.
    Park(SyncSender<()>),
    /// Each connection leaves after what is in flight: for this process, else for good.
    Drain(Option<OwnedFd>),
    /// Serve what another process hands over here.
    TakeOver(OwnedFd),
    /// End everything now.
    End,
}

impl Message {
    /// What a thread is at that answers it.
    pub(super) fn doing(&self) -> Doing {
        match self {
            Self::Turn => Doing::Waiting,
            Self::Accept(_) | Self::Park(_) => Doing::Accept,
            Self::Serve => Doing::Connection,
            Self::Refresh => Doing::Refresh,
            Self::Purge(_) => Doing::Purge,
            Self::Holders(_) | Self::Classes(_) | Self::Idlest(_) => Doing::Question,
            Self::Cut(_) | Self::CutAll(_) => Doing::Cut,
            Self::Drain(_) | Self::Evict => Doing::Course,
            Self::TakeOver(_) => Doing::TakeOver,
            Self::End => Doing::End,
        }
    }
}
