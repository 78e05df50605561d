//! One connection as everything on its core sees it: whoever reads, writes or answers notes it here.
//!
//! Owns no socket and no timer; says which limit has passed at a moment.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use super::{
    client_gone::{ClientGone, Watchers},
    clock::Moment,
    own::{Own, OwnCounts},
};
use crate::plugin::exchange::Client;
use crate::{config::Limits, status::Classes};

/// The coarse clock's step, rounded up.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// How long a connection may be silent at first before it counts as idle.
const FRESH_TIME: Duration = Duration::from_secs(1);

/// How long it must have been idle after an answer before its place is given away: a client that works
/// asks again at once. A newcomer waits no longer for it.
const SETTLED_TIME: Duration = Duration::from_millis(25);

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It stays.
    Stay,
    /// Another process takes it over as soon as nothing is in flight on it.
    Move,
    /// Its next answer is its last. Without a request it is kept for `linger`, because a client
    /// may be sending one right now.
    Close { since: Moment, linger: Duration },
}

/// A connection as everything on its core sees it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Client,
    /// Requests that have not reached their last byte.
    in_flight: Cell<usize>,
    /// Since when no request is in flight.
    idle_since: Cell<Moment>,
    /// When the first byte came of a head that is not complete.
    head_since: Cell<Option<Moment>>,
    /// When something was read last while a request was in flight, and nothing was written since: the
    /// beginning of the next head, if the request ends now.
    read_last: Cell<Option<Moment>>,
    /// Since when the peer takes nothing that we write.
    stuck_since: Cell<Option<Moment>>,
    /// HTTP/2: bytes between requests are frames, not the beginning of a head.
    h2: Cell<bool>,
    /// Heads that have come; wraps.
    heads: Cell<u32>,
    /// Counts writes that took something, and wraps.
    writes: Cell<u32>,
    /// In a plugin's hands after a 101.
    upgraded: Cell<bool>,
    course: Cell<Course>,
    /// To be ended at once, whatever is in flight on it.
    aborted: Cell<bool>,
    /// To be closed for a newcomer, unless a request has come.
    evicted: Cell<bool>,
    /// An answer was broken off: the peer must not take what it has got for the whole.
    broken_off: Cell<Option<Own>>,
    /// What `writes` was when the last head came; `None`: answers before it were not all written.
    writes_before: Cell<Option<u32>>,
    waker: RefCell<Option<Waker>>,
    /// Who waits for the client's end.
    watchers: OnceCell<Rc<Watchers>>,
    /// The rest of a body that nobody wants is being read away.
    resting: Cell<bool>,
    /// An answer that was asked for may be on its way to the socket.
    answering: Cell<bool>,
    /// HTTP/2: pieces of answers that h2 has.
    pieces: Cell<usize>,
    /// HTTP/2: since when none of them has moved.
    pieces_since: Cell<Moment>,
    /// HTTP/2: streams that we still hold a handle of.
    streams: Cell<usize>,
    owns: Arc<OwnCounts>,
}

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Head,
    Idle,
    Write,
}

impl Expired {
    /// By which limit.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Write => "write",
        }
    }
}

impl Conn {
    pub(super) fn new(peer: Client, owns: Arc<OwnCounts>) -> Rc<Self> {
        Rc::new(Self {
            peer,
            in_flight: Cell::new(0),
            idle_since: Cell::new(Moment::now()),
            head_since: Cell::new(None),
            read_last: Cell::new(None),
            stuck_since: Cell::new(None),
            h2: Cell::new(false),
            heads: Cell::new(0),
            writes: Cell::new(0),
            upgraded: Cell::new(false),
            course: Cell::new(Course::Stay),
            aborted: Cell::new(false),
            evicted: Cell::new(false),
            broken_off: Cell::new(None),
            writes_before: Cell::new(None),
            waker: RefCell::new(None),
            watchers: OnceCell::new(),
            resting: Cell::new(false),
            answering: Cell::new(false),
            pieces: Cell::new(0),
            streams: Cell::new(0),
            pieces_since: Cell::new(Moment::now()),
            owns,
        })
    }

    pub(super) fn has_read(&self, count: usize) {
        if count == 0 || self.h2.get() || self.resting.get() {
            return;
        }
        if self.in_flight.get() > 0 {
            self.read_last.set(Some(Moment::now()));
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(Moment::now()));
        }
    }

    /// What was read so far was the body of the request in flight, to its end.
    pub(super) fn body_ends(&self) {
        self.read_last.set(None);
    }

    pub(super) fn has_written(&self, progress: bool) {
        if progress {
            self.writes.set(self.writes.get().wrapping_add(1));
            self.stuck_since.set(None);
            self.read_last.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Moment::now()));
        }
    }

    /// Counts an answer of the host's own.
    pub(super) fn count(&self, own: Own) {
        self.owns.add(own);
    }

    /// A request's head is complete, whoever answers it.
    pub(super) fn head_done(&self, now: Moment) {
        let behind = self.answering.replace(true);
        self.writes_before.set((!behind).then(|| self.writes.get()));
        self.heads.set(self.heads.get().wrapping_add(1));
        self.head_since.set(None);
        self.read_last.set(None);
        self.idle_since.set(now);
    }

    /// A plugin answers a request.
    pub(super) fn begin_request(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0 || self.resting.get()
    }

    /// Whether no request is in flight and nothing waits to be written.
    pub(super) fn is_between(&self) -> bool {
        !self.is_busy() && self.stuck_since.get().is_none()
    }

    /// Whether the rest of a body is being read away, which makes the connection busy.
    pub(super) fn set_resting(&self, resting: bool) {
        self.resting.set(resting);
        self.idle_since.set(Moment::now());
    }

    /// All that hyper has wanted to write so far is written.
    pub(super) fn all_written(&self) {
        self.answering.set(false);
    }

    /// Whether what hyper writes now may be an answer that was asked for; else it is one of its own.
    pub(super) fn is_answering(&self) -> bool {
        self.in_flight.get() > 0 || self.answering.get()
    }

    /// HTTP/2: h2 has one more piece of an answer.
    pub(super) fn piece_given(&self) {
        if self.pieces.get() == 0 {
            self.piece_moved();
        }
        self.pieces.set(self.pieces.get() + 1);
    }

    /// HTTP/2: whether h2 has any.
    pub(super) fn has_pieces(&self) -> bool {
        self.pieces.get() > 0
    }

    /// HTTP/2: a part of it was written.
    pub(super) fn piece_moved(&self) {
        self.pieces_since.set(Moment::now());
    }

    /// HTTP/2: it was written, or thrown away.
    pub(super) fn piece_gone(&self) {
        self.pieces.set(self.pieces.get() - 1);
    }

    /// HTTP/2: a stream's task has begun.
    pub(super) fn stream_began(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    /// HTTP/2: a stream's task has ended; what is left of its answer is in the library's hands.
    pub(super) fn stream_ended(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    /// Heads that have come; wraps.
    pub(super) fn heads(&self) -> u32 {
        self.heads.get()
    }

    /// Heads that have come, unless a request is in flight.
    pub(super) fn done(&self) -> Option<u32> {
        (!self.is_busy()).then(|| self.heads.get())
    }

    /// Whether nothing but a part of a head has come since `before`, which [`Self::touches`] said then,
    /// and nothing was written.
    pub(super) fn is_untouched(&self, before: (u32, u32)) -> bool {
        self.touches() == before && self.is_between()
    }

    /// Changes with each head that is complete, and each write.
    pub(super) fn touches(&self) -> (u32, u32) {
        (self.heads.get(), self.writes.get())
    }

    /// Since when the peer takes nothing that we write.
    pub(super) fn stuck_since(&self) -> Option<Moment> {
        self.stuck_since.get()
    }

    /// Whether the peer takes nothing that we write.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_since.get().is_some()
    }

    /// Counts it as idle from now on, whatever it was before.
    pub(super) fn idles_anew(&self) {
        self.idle_since.set(Moment::now());
    }

    /// Changes with each write that took something.
    pub(super) fn writes(&self) -> u32 {
        self.writes.get()
    }

    pub(super) fn is_upgraded(&self) {
        self.upgraded.set(true);
    }

    /// It is HTTP/2: what comes between requests is frames, not the beginning of a head.
    pub(super) fn is_h2(&self) {
        self.h2.set(true);
        self.head_since.set(None);
    }

    pub(super) fn speaks_h2(&self) -> bool {
        self.h2.get()
    }

    /// A request has reached its last byte.
    pub(super) fn end_request(&self, now: Moment) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.idle_since.set(now);
        if self.in_flight.get() == 0 && !self.resting.get() {
            // hyper reads on as soon as the answer is out, before the request is let go of here.
            self.head_since.set(self.read_last.take());
        }
    }

    /// Says what is to become of the connection.
    pub(super) fn set_course(&self, course: Course) {
        self.course.set(course);
        self.wake();
    }

    pub(super) fn course(&self) -> Course {
        self.course.get()
    }

    pub(super) fn is_moving(&self) -> bool {
        self.course.get() == Course::Move
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.course.get(), Course::Close { .. })
    }

    /// Counts the connection where it belongs.
    pub(super) fn classify(&self, classes: &mut Classes) {
        let class = if self.upgraded.get() {
            &mut classes.upgraded
        } else if self.h2.get() {
            &mut classes.h2
        } else if self.is_busy() {
            &mut classes.busy
        } else if self.head_since.get().is_some() {
            &mut classes.head
        } else if self.heads.get() > 0 {
            &mut classes.idle
        } else {
            &mut classes.fresh
        };
        *class += 1;
    }

    /// Since when it has been idle, if it is and was not asked to make room before. One that has just
    /// come is about to say what it wants.
    pub(super) fn evictable(&self, now: Moment) -> Option<Moment> {
        let works = self.upgraded.get() || self.streams.get() > 0 || self.has_pieces();
        let idle = self.is_between() && self.head_since.get().is_none() && !works;
        let since = self.idle_since.get();
        let least = if self.heads.get() > 0 { SETTLED_TIME } else { FRESH_TIME };
        let settled = now.since(since) >= least;
        (idle && settled && !self.evicted.get()).then_some(since)
    }

    /// Asks it to make room for another one.
    pub(super) fn evict(&self) {
        self.evicted.set(true);
        self.wake();
    }

    /// Whether it is to make room, and still can.
    pub(super) fn makes_room(&self) -> bool {
        self.evicted.get() && self.is_between() && self.head_since.get().is_none()
    }

    /// A request has come meanwhile.
    pub(super) fn stays(&self) {
        self.evicted.set(false);
    }

    /// An answer on it ends before its end, for this reason.
    pub(super) fn break_off(&self, own: Own) {
        self.broken_off.set(Some(own));
    }

    /// Why an answer on it ended before its end, if one did.
    pub(super) fn broken_off(&self) -> Option<Own> {
        self.broken_off.get()
    }

    /// Whether nothing was written since the last head came.
    pub(super) fn is_unanswered(&self) -> bool {
        self.writes_before.get() == Some(self.writes.get())
    }

    /// Asks the connection to end at once.
    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Ends when the client has gone, or has closed its side.
    pub(super) fn client_gone(&self) -> ClientGone {
        let watchers = self.watchers.get_or_init(|| {
            // From now on it is looked for.
            self.wake();
            Rc::default()
        });
        ClientGone::of(watchers)
    }

    /// Those who wait for the client's end, while there are some.
    pub(super) fn watchers(&self) -> Option<&Watchers> {
        self.watchers.get().map(|it| &**it).filter(|it| it.is_watched())
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Notes whom `set_course` and `abort` must wake.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Which limit has passed, else when to look again.
    pub(super) fn check(&self, now: Moment, limits: &Limits) -> Result<Duration, Expired> {
        let rest = |since: Moment, limit: Duration, why: Expired| {
            limit.checked_sub(now.since(since)).filter(|rest| !rest.is_zero()).ok_or(why)
        };
        if let Some(since) = self.stuck_since.get() {
            return rest(since, limits.body_gap, Expired::Write);
        }
        if self.h2.get() && self.pieces.get() > 0 {
            // Everything was within the peer's windows and is not taken: it has shrunk them since.
            return rest(self.pieces_since.get(), limits.body_gap, Expired::Write);
        }
        if self.is_busy() {
            // The body's and the plugin's own limits rule.
            return Ok(limits.header_time.min(limits.idle_time).min(limits.body_gap));
        }
        match self.head_since.get() {
            Some(since) => rest(since, limits.header_time, Expired::Head),
            // A head that begins later has its own, shorter limit.
            None => {
                let idle = self.idle_since.get();
                let left = rest(idle, limits.idle_time, Expired::Idle)?.min(limits.header_time);
                match self.course.get() {
                    Course::Close { since, linger } if !self.h2.get() => {
                        let linger = self.spread(linger);
                        rest(since.max(idle), linger, Expired::Idle).map(|it| it.min(left))
                    }
                    _ => Ok(left),
                }
            }
        }
    }

    /// Shortens `time` by up to a fifth, each connection by another part: not all clients are to
    /// connect anew at the same moment.
    fn spread(&self, time: Duration) -> Duration {
        // Where it lies in memory is as good as a random number, and costs nothing. The constant
        // is that of Fibonacci hashing.
        let hash = (std::ptr::from_ref(self) as usize as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let part = u32::try_from(hash >> 48).unwrap_or(0);
        time - time / 5 * part / (1 << 16)
    }

    /// A closing connection's course, and since when it has been without a request.
    pub(super) fn closing_idle(&self) -> Option<(Course, Moment)> {
        let idle = self.is_closing() && !self.is_busy() && !self.h2.get();
        idle.then(|| (self.course.get(), self.idle_since.get()))
    }
}
