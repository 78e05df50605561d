//! What a request holds while it is in flight, and the list of those requests.
//!
//! Owns the lists of one data thread from which the status names holders and a cut finds them; a
//! counter could only say how many there are, and a weak entry costs a few nanoseconds.
//! Knows nothing of how a request is served.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use slab::Slab;
use tokio::time::Instant;

use super::{
    clock::Moment,
    conn::Conn,
    inbound::{Inbound, Upload},
    own::{self, Own},
    pulse::{Doing, PulseWriter},
    task,
};
use crate::{
    ids::Generation,
    plugin::{
        exchange::{self, WeakExchange},
        instance::Instance,
        stream::StreamError,
    },
    route::{Count, Counters, Lease},
    status::Holder,
};

/// A request in flight on this thread.
pub(super) type Exchange = exchange::Exchange<Hold, Inbound>;

/// The requests in flight on one thread.
#[derive(Debug)]
pub(super) struct InFlight {
    list: RefCell<Slab<WeakExchange<Hold, Inbound>>>,
    /// The number of the next request. Every thread counts in a residue class of its own: unique
    /// without sharing.
    next: Cell<u64>,
    step: u64,
    pulse: Rc<PulseWriter>,
}

/// What a request holds while it is in flight; letting go of it is its `Drop`.
#[derive(Debug)]
pub(super) struct Hold {
    lease: Rc<Lease>,
    in_flight: Rc<InFlight>,
    conn: Rc<Conn>,
    /// How its stream is ended apart from its connection, where it can be.
    stream: Option<Rc<Abort>>,
    /// How the request's body comes, if it has one.
    upload: Option<Rc<Upload>>,
    since: Moment,
    /// What the plugin may take to the head of its answer.
    time: Duration,
    slot: Cell<usize>,
    doing: Cell<&'static str>,
}

/// Ends one HTTP/2 stream from outside.
#[derive(Debug, Default)]
pub(super) struct Abort {
    asked: Cell<bool>,
    /// It has no task any more.
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Abort {
    /// Whether the stream is to end; else its task is remembered, to be woken when it is.
    pub(super) fn is_asked(&self, cx: &Context<'_>) -> bool {
        if !self.asked.get() {
            self.waker.replace(Some(cx.waker().clone()));
        }
        self.asked.get()
    }

    /// The stream's task has ended: what is left of its answer is in h2's hands.
    pub(super) fn is_over(&self) {
        self.over.set(true);
    }

    /// False: there is no task that could.
    fn ask(&self) -> bool {
        self.asked.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        !self.over.get()
    }
}

/// How long a plugin may neither read nor let go of a body after its answer, which would keep the
/// connection from its next request. Whoever goes on reading it may take as long as the client does.
const KEPT_TIME: Duration = Duration::from_secs(5);

/// Takes the body of a request back that was answered, unless somebody still reads it.
#[cold]
pub(super) fn take_back(exchange: &Exchange) {
    let hold = exchange.lease();
    let Some(upload) = hold.upload.clone().filter(|upload| upload.is_open()) else { return };
    let (pulse, exchange) = (hold.in_flight.pulse.clone(), exchange.downgrade());
    task::spawn(&pulse, Doing::Cut, async move {
        loop {
            let polls = upload.polls();
            tokio::time::sleep(KEPT_TIME).await;
            if !upload.is_open() {
                return;
            }
            // Who waits for the client is not waited for.
            if upload.polls() == polls && !upload.is_waiting() {
                break;
            }
        }
        if let Some(exchange) = exchange.get() {
            if exchange.lease().lease().loaded().is_news("a kept body was taken back") {
                tracing::warn!(
                    request = exchange.id(),
                    path = exchange.path(),
                    generation = exchange.lease().generation().0,
                    "a plugin keeps a body that it does not read beyond its answer: it is taken \
                     back"
                );
            }
            exchange.sever();
        }
    });
}

/// What to answer in place of a body that has failed before anything of it has gone out.
pub(super) fn answer_to(error: &StreamError) -> Own {
    match error {
        StreamError::Cut => own::CUT,
        StreamError::Panicked => own::PANICKED,
        StreamError::Failed(_) => own::FAILED,
        StreamError::Invalid(_) => own::INVALID,
    }
}

impl exchange::Lease for Hold {
    fn instance(&self) -> &Instance {
        self.lease.loaded().instance()
    }

    fn deadline(&self) -> Option<u64> {
        let waited = |upload: &Rc<Upload>| upload.waited(Instant::now());
        let waited = self.upload.as_ref().map_or(Duration::ZERO, waited);
        let begun = Duration::from_millis(self.since.as_millis());
        u64::try_from((begun + self.time + waited).as_nanos()).ok()
    }

    fn client_gone(&self) -> impl Future<Output = ()> + Unpin + 'static {
        self.conn.client_gone()
    }
}

impl Hold {
    pub(super) fn new(
        lease: Rc<Lease>,
        in_flight: Rc<InFlight>,
        conn: Rc<Conn>,
        (stream, upload): (Option<Rc<Abort>>, Option<Rc<Upload>>),
        (since, time): (Moment, Duration),
    ) -> Self {
        conn.begin_request();
        lease.counters().add(Count::Request);
        let (slot, doing) = (Cell::new(usize::MAX), Cell::new("request"));
        Self { lease, in_flight, conn, stream, upload, since, time, slot, doing }
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

    /// What the plugin may take to the head of its answer.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    pub(super) fn generation(&self) -> Generation {
        self.lease.generation()
    }

    /// What the request is at, for the status.
    pub(super) fn doing(&self, what: &'static str) {
        self.doing.set(what);
    }

    /// Runs a poll of the plugin, with what it is about written down before.
    #[inline]
    pub(super) fn watched<T>(&self, exchange: &Exchange, poll: impl FnOnce() -> T) -> T {
        self.in_flight.pulse.polls(exchange.id(), exchange.path());
        poll()
    }

    pub(super) fn body_failed(&self, error: &StreamError) {
        let count = match error {
            StreamError::Cut => Count::Cut,
            StreamError::Panicked => Count::Panic,
            StreamError::Failed(_) | StreamError::Invalid(_) => Count::Error,
        };
        self.counters().add(count);
        self.conn.break_off(answer_to(error));
        let loaded = self.lease.loaded();
        if loaded.is_news("a response body ended early") {
            tracing::warn!(
                plugin = %loaded.plugin, generation = loaded.version.generation.0, %error,
                "a response body ended early"
            );
        }
    }

    /// Ends what carries the answer: the stream where that is still possible, else the connection.
    fn abort(&self) {
        match &self.stream {
            // What keeps it is what the plugin was lent, or bytes that h2 cannot write.
            Some(stream) if stream.ask() || !self.conn.has_pieces() => {}
            _ => self.conn.abort(),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.in_flight.list.borrow_mut().try_remove(self.slot.get());
        self.conn.end_request(Moment::now());
    }
}

impl InFlight {
    /// The requests of the thread `index` of `threads`.
    pub(super) fn new(index: usize, threads: usize, pulse: Rc<PulseWriter>) -> Rc<Self> {
        let next = Cell::new(index as u64 + 1);
        Rc::new(Self { list: RefCell::default(), next, step: threads as u64, pulse })
    }

    /// Lists a request among those in flight.
    pub(super) fn enlist(&self, exchange: &Exchange) {
        let slot = self.list.borrow_mut().insert(exchange.downgrade());
        exchange.lease().slot.set(slot);
    }

    /// A number for a request.
    pub(super) fn next_id(&self) -> u64 {
        self.next.replace(self.next.get() + self.step)
    }

    /// What [`next_id`](Self::next_id) will say next.
    pub(super) fn upcoming_id(&self) -> u64 {
        self.next.get()
    }

    fn all(&self) -> Vec<Exchange> {
        self.list.borrow().iter().filter_map(|(_, it)| it.get()).collect()
    }

    /// Who is in flight, and on what generation.
    pub(super) fn holders(&self) -> Vec<(Generation, Holder)> {
        let now = Moment::now();
        let describe = |exchange: Exchange| {
            let hold = exchange.lease();
            let holder = Holder {
                request: exchange.id(),
                method: exchange.method().to_string(),
                path: exchange.path().to_owned(),
                doing: hold.doing.get(),
                age: now.since(hold.since),
                peer: exchange.peer().to_owned(),
            };
            (hold.generation(), holder)
        };
        self.all().into_iter().map(describe).collect()
    }

    /// Asks for the end of some requests. Returns how many it was.
    pub(super) fn cut(&self, which: impl Fn(&Exchange) -> bool) -> usize {
        let cut = self.all().into_iter().filter(|it| which(it)).map(|exchange| {
            if exchange.lease().lease().loaded().is_news("cut at the limit") {
                tracing::warn!(
                    request = exchange.id(), method = %exchange.method(), path = exchange.path(),
                    peer = exchange.peer(), doing = exchange.lease().doing.get(),
                    generation = exchange.lease().generation().0,
                    "cut at the limit"
                );
            }
            exchange.cut();
        });
        cut.count()
    }

    /// Ends what was cut and is still there: an answer that its client does not take lies where no
    /// poll of its body would notice, and a plugin may keep what it was lent.
    pub(super) fn abort(&self, which: impl Fn(&Exchange) -> bool) {
        for exchange in self.all() {
            if which(&exchange) {
                exchange.lease().abort();
                exchange.sever();
            }
        }
    }
}
