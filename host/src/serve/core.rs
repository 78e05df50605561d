//! One data thread: its table, its connections, the requests in flight on it.
//!
//! Owns everything that is per core and needs no lock. [`Core::run`] is the thread's main
//! function; [`Message`]s are how other threads reach it.

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    balance::Balance,
    body::Exchange,
    clock::Moment,
    conn::{Conn, Course},
    connection,
    io::Stream,
    listener::{self, Accepted, Socket},
    own::HealthSource,
    passing::{self, Successor},
    pulse::{Doing, PulseWriter},
    task,
};
use crate::{
    config::Limits,
    ids::Generation,
    plugin::{
        call::{self, CallError},
        instance::Instance,
        purge::PurgeRequest,
        stream::StreamError,
    },
    route::{Count, Counters, Lease, View},
    status::{Classes, Holder},
};

/// Between a cut and the end of the connection, for last chunks and close frames.
pub(super) const CUT_GRACE: Duration = Duration::from_secs(1);

/// Between two looks at the connections that are left at the end.
const LOOK: Duration = Duration::from_millis(5);

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
    fn doing(&self) -> Doing {
        match self {
            Self::Turn => Doing::Waiting,
            Self::Accept(_) | Self::Park(_) => Doing::Accept,
            Self::Serve => Doing::Connection,
            Self::Refresh => Doing::Refresh,
            Self::Purge(_) => Doing::Purge,
            Self::Holders(_) | Self::Classes(_) => Doing::Question,
            Self::Cut(_) | Self::CutAll(_) => Doing::Cut,
            Self::Drain(_) => Doing::Course,
            Self::TakeOver(_) => Doing::TakeOver,
            Self::End => Doing::End,
        }
    }
}

/// What a data thread knows.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) index: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) half_close: bool,
    pub(super) health_path: Option<Arc<str>>,
    pub(super) health: HealthSource,
    pub(super) view: View,
    pub(super) balance: Arc<Balance>,
    pub(super) requests: Cell<u64>,
    pub(super) pulse: Rc<PulseWriter>,
    pub(super) exchanges: RefCell<Slab<Weak<Exchange>>>,
    pub(super) connections: RefCell<Slab<Rc<Conn>>>,
    /// That of every connection which comes.
    pub(super) course: Cell<Course>,
    pub(super) successor: RefCell<Option<Rc<Successor>>>,
}

/// What a request holds while it is in flight; letting go of it is its `Drop`.
#[derive(Debug)]
pub(super) struct Hold {
    lease: Rc<Lease>,
    core: Rc<Core>,
    conn: Rc<Conn>,
    since: Moment,
    slot: Cell<usize>,
    doing: Cell<&'static str>,
}

impl call::Lease for Hold {
    fn instance(&self) -> &Instance {
        self.lease.loaded().instance()
    }
}

impl Hold {
    pub(super) fn new(lease: Rc<Lease>, core: Rc<Core>, conn: Rc<Conn>, since: Moment) -> Self {
        conn.begin_request();
        lease.counters().add(Count::Request);
        Self { lease, core, conn, since, slot: Cell::new(usize::MAX), doing: Cell::new("request") }
    }

    pub(super) fn counters(&self) -> &Counters {
        self.lease.counters()
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(super) fn conn(&self) -> &Conn {
        &self.conn
    }

    /// What the request is at, for the status.
    pub(super) fn doing(&self, what: &'static str) {
        self.doing.set(what);
    }

    /// Runs a poll of the plugin, with what it is about written down before.
    #[inline]
    pub(super) fn watched<T>(&self, exchange: &Exchange, poll: impl FnOnce() -> T) -> T {
        self.core.pulse.polls(exchange.id(), exchange.path());
        poll()
    }

    pub(super) fn body_failed(&self, error: &StreamError) {
        self.counters().add(match error {
            StreamError::Cut => Count::Cut,
            StreamError::Panicked => Count::Panic,
            StreamError::Failed(_) | StreamError::Invalid(_) => Count::Error,
        });
        let loaded = self.lease.loaded();
        tracing::warn!(
            plugin = %loaded.plugin, generation = %loaded.version.generation, %error,
            "a response body ended early"
        );
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.core.exchanges.borrow_mut().try_remove(self.slot.get());
        self.conn.end_request(Moment::now());
    }
}

impl Core {
    /// Lists a request among those in flight.
    pub(super) fn enlist(&self, exchange: &Rc<Exchange>) {
        let slot = self.exchanges.borrow_mut().insert(Rc::downgrade(exchange));
        exchange.lease().slot.set(slot);
    }

    pub(super) fn next_request(&self) -> u64 {
        // Every data thread counts in a residue class of its own: unique without sharing.
        self.requests.replace(self.requests.get() + self.balance.cores() as u64)
    }

    /// Logs a call that ended without an answer.
    pub(super) fn say_call_error(&self, exchange: Option<&Exchange>, error: &CallError) {
        let Some(exchange) = exchange else {
            tracing::warn!(%error, "a call ended without an answer");
            return;
        };
        let loaded = exchange.lease().lease.loaded();
        tracing::warn!(
            plugin = %loaded.plugin, generation = %loaded.version.generation,
            request = exchange.id(), method = %exchange.method(), path = exchange.path(),
            peer = exchange.peer(), %error,
            "a call ended without an answer"
        );
    }

    fn holders(&self) -> Vec<(Generation, Holder)> {
        let now = Moment::now();
        let exchanges: Vec<_> =
            self.exchanges.borrow().iter().filter_map(|(_, it)| it.upgrade()).collect();
        let describe = |exchange: Rc<Exchange>| {
            let hold = exchange.lease();
            let holder = Holder {
                request: exchange.id(),
                method: exchange.method().to_string(),
                path: exchange.path().to_owned(),
                doing: hold.doing.get(),
                age: now.since(hold.since),
                peer: exchange.peer().to_owned(),
            };
            (hold.lease.generation(), holder)
        };
        exchanges.into_iter().map(describe).collect()
    }

    fn classes(&self) -> Classes {
        let mut classes = Classes::default();
        self.connections.borrow().iter().for_each(|(_, conn)| conn.classify(&mut classes));
        classes
    }

    /// Returns how many it was.
    fn cut(&self, which: impl Fn(&Exchange) -> bool) -> usize {
        let exchanges: Vec<_> =
            self.exchanges.borrow().iter().filter_map(|(_, it)| it.upgrade()).collect();
        let cut = exchanges.into_iter().filter(|it| which(it)).map(|exchange| {
            tracing::warn!(
                request = exchange.id(), method = %exchange.method(), path = exchange.path(),
                peer = exchange.peer(), doing = exchange.lease().doing.get(),
                generation = %exchange.lease().lease.generation(),
                "cut at the limit"
            );
            exchange.cut();
        });
        cut.count()
    }

    /// Serves one connection, on this thread.
    pub(super) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let core = self.clone();
        let Accepted { socket, peer, prefix } = accepted;
        let stream = match socket.into_stream() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be registered");
                core.balance.left(core.index);
                return;
            }
        };
        let pulse = self.pulse.clone();
        task::spawn(&pulse, Doing::Connection, serve(core, stream, peer.into(), prefix));
    }

    /// What a connection is to do that cannot be handed over, or when there is nobody to.
    pub(super) fn closing(&self) -> Course {
        Course::Close { since: Moment::now(), linger: self.limits.idle_linger }
    }

    pub(super) fn successor(&self) -> Option<Rc<Successor>> {
        self.successor.borrow().clone()
    }

    fn set_course(&self, course: Course) {
        self.course.set(course);
        self.connections.borrow().iter().for_each(|(_, conn)| conn.set_course(course));
    }

    /// What was in flight until the limit is cut, and then the process ends: there may be no time
    /// left for a hand-over, so last answers say that they are the last.
    fn hand_over_no_more(&self) {
        if self.course.get() == Course::Move {
            self.set_course(self.closing());
        }
    }

    fn drain(&self, successor: Option<OwnedFd>) {
        let successor = successor.and_then(|it| match Successor::new(it) {
            Ok(successor) => Some(Rc::new(successor)),
            Err(error) => {
                tracing::warn!(%error, "connections cannot be handed over: they are closed");
                None
            }
        });
        let course = if successor.is_some() { Course::Move } else { self.closing() };
        self.successor.replace(successor);
        self.set_course(course);
    }

    /// Ends the connections of what was cut and is still there a moment later: an answer that the
    /// client does not take is in hyper's hands and never polled again.
    async fn abort_later(self: Rc<Self>, which: impl Fn(&Exchange) -> bool) {
        tokio::time::sleep(CUT_GRACE).await;
        let left: Vec<_> =
            self.exchanges.borrow().iter().filter_map(|(_, it)| it.upgrade()).collect();
        for exchange in left {
            if which(&exchange) {
                exchange.lease().conn.abort();
            }
        }
    }

    /// Waits until no connection is left.
    async fn empty(&self) {
        while !self.connections.borrow().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Answers messages until [`Message::End`].
    pub(super) async fn run(self: Rc<Self>, mut inbox: mpsc::Receiver<Message>) {
        let mut accepting: Vec<JoinHandle<()>> = Vec::new();
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Park(done) => {
                    for accepting in accepting.drain(..) {
                        accepting.abort();
                        // Its listener is closed once the task is dropped.
                        let _ = accepting.await;
                    }
                    let _ = done.try_send(());
                }
                Message::End => {
                    self.pulse.turn(Doing::End, || {
                        accepting.iter().for_each(JoinHandle::abort);
                        self.cut(|_| true);
                        let linger = Duration::ZERO;
                        self.set_course(Course::Close { since: Moment::now(), linger });
                    });
                    let _ = tokio::time::timeout(CUT_GRACE, self.empty()).await;
                    return;
                }
                message => {
                    let doing = message.doing();
                    self.pulse.turn(doing, || self.answer(message, &mut accepting));
                }
            }
        }
    }

    /// Does what needs no waiting.
    fn answer(self: &Rc<Self>, message: Message, accepting: &mut Vec<JoinHandle<()>>) {
        match message {
            Message::Accept(sockets) => accepting.extend(sockets.into_iter().map(|socket| {
                let accept = listener::accept(self.clone(), socket);
                task::spawn(&self.pulse, Doing::Accept, accept)
            })),
            Message::Serve => {
                // Another thread may have it by now.
                if let Some(accepted) = self.balance.take(self.index) {
                    self.serve(accepted);
                }
            }
            Message::Refresh => {
                self.balance.looked(self.index);
                self.view.refresh();
            }
            Message::Purge(request) => request.run(),
            Message::Holders(answer) => {
                // Whoever asked may have lost patience.
                let _ = answer.try_send(self.holders());
            }
            Message::Classes(answer) => {
                let _ = answer.try_send(self.classes());
            }
            Message::Cut(generation) => {
                let which = move |it: &Exchange| it.lease().lease.generation() == generation;
                self.hand_over_no_more();
                self.cut(which);
                task::spawn(&self.pulse, Doing::Cut, self.clone().abort_later(which));
            }
            Message::CutAll(answer) => {
                self.hand_over_no_more();
                let _ = answer.try_send(self.cut(|_| true));
                // Not what comes afterwards.
                let next = self.requests.get();
                let which = move |it: &Exchange| it.id() < next;
                task::spawn(&self.pulse, Doing::Cut, self.clone().abort_later(which));
            }
            Message::Drain(successor) => self.drain(successor),
            Message::TakeOver(socket) => {
                let take = passing::take_over(self.clone(), socket);
                task::spawn(&self.pulse, Doing::TakeOver, take);
            }
            // To have been answered is all; the two others take their time, in `run`.
            Message::Turn | Message::Park(_) | Message::End => {}
        }
    }
}

/// Leaves the lists again, however the connection ends.
struct Listed {
    core: Rc<Core>,
    slot: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let conn = self.core.connections.borrow_mut().remove(self.slot);
        // A 101 that was never sent holds its request, which holds the connection: a cycle. Plugin
        // code runs here, so no list is borrowed.
        drop(conn.take_upgrade());
        self.core.balance.left(self.core.index);
    }
}

async fn serve(core: Rc<Core>, stream: Stream, peer: Rc<str>, prefix: Bytes) {
    let conn = Conn::new(peer);
    let slot = core.connections.borrow_mut().insert(conn.clone());
    let _listed = Listed { core: core.clone(), slot };
    conn.set_course(core.course.get());
    connection::serve(core, stream, conn, prefix).await;
}
