//! One data thread: what it knows, and what it can be asked.
//!
//! Owns everything that is per core and needs no lock. Knows nothing of how it is reached (`thread`).

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
};

use slab::Slab;

use super::{
    balance::Balance,
    clock::Moment,
    conn::{Conn, Course},
    hold::InFlight,
    own::{HealthSource, OwnCounts},
    passing::Successor,
    plain::{ThinCount, desk::Desks},
    pulse::{Doing, PulseWriter},
};
use crate::plugin::exchange::Client;
use crate::{config::Limits, plugin::release, route::View, status::Classes};

/// What a data thread knows.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) index: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) half_close: bool,
    /// Plain requests of HTTP/1.1 go past hyper.
    pub(super) thin: bool,
    pub(super) desks: Desks,
    pub(super) health_path: Option<Arc<str>>,
    pub(super) health: HealthSource,
    pub(super) view: View,
    pub(super) balance: Arc<Balance>,
    pub(super) owns: Arc<OwnCounts>,
    pub(super) thin_count: Arc<ThinCount>,
    pub(super) pulse: Rc<PulseWriter>,
    pub(super) in_flight: Rc<InFlight>,
    pub(super) connections: RefCell<Slab<Rc<Conn>>>,
    /// That of every connection which comes.
    pub(super) course: Cell<Course>,
    pub(super) successor: RefCell<Option<Rc<Successor>>>,
}

impl Core {
    /// Lists a connection, until the listing is dropped.
    pub(super) fn list(self: &Rc<Self>, peer: Client) -> Listed {
        let conn = Conn::new(peer, self.owns.clone());
        let slot = self.connections.borrow_mut().insert(conn.clone());
        conn.set_course(self.course.get());
        Listed { core: self.clone(), conn, slot }
    }

    /// Works with what has locks of its own (h2); what is let go of meanwhile goes afterwards.
    pub(super) fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = release::scope(|| {
            let done = work();
            self.pulse.doing(Doing::Destructor);
            done
        });
        self.pulse.doing(Doing::Connection);
        done
    }

    pub(super) fn classes(&self) -> Classes {
        let mut classes = Classes::default();
        self.connections.borrow().iter().for_each(|(_, conn)| conn.classify(&mut classes));
        classes
    }

    /// The connection that has been idle longest, and since when.
    pub(super) fn idlest(&self) -> Option<(Moment, Rc<Conn>)> {
        let (now, connections) = (Moment::now(), self.connections.borrow());
        let idle = connections.iter().filter_map(|(_, conn)| Some((conn.evictable(now)?, conn)));
        idle.min_by_key(|(since, _)| *since).map(|(since, conn)| (since, conn.clone()))
    }

    /// Closes that one, if there still is one.
    pub(super) fn evict(&self) {
        if let Some((_, conn)) = self.idlest() {
            self.balance.has_evicted();
            conn.evict();
        }
    }

    /// What a connection is to do that cannot be handed over, or when there is nobody to.
    pub(super) fn closing(&self) -> Course {
        Course::Close { since: Moment::now(), linger: self.limits.idle_linger }
    }

    pub(super) fn successor(&self) -> Option<Rc<Successor>> {
        self.successor.borrow().clone()
    }

    pub(super) fn set_course(&self, course: Course) {
        self.course.set(course);
        self.connections.borrow().iter().for_each(|(_, conn)| conn.set_course(course));
    }

    /// What was in flight until the limit is cut, and then the process ends: there may be no time
    /// left for a hand-over, so last answers say that they are the last.
    pub(super) fn hand_over_no_more(&self) {
        if self.course.get() == Course::Move {
            self.set_course(self.closing());
        }
    }

    pub(super) fn drain(&self, successor: Option<OwnedFd>) {
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
}

/// A connection on the lists; it leaves them however it ends.
pub(super) struct Listed {
    core: Rc<Core>,
    pub(super) conn: Rc<Conn>,
    slot: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.core.connections.borrow_mut().remove(self.slot);
        self.core.balance.left(self.core.index);
    }
}
