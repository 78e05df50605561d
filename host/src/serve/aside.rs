//! What an HTTP/1 connection keeps beside hyper: the rest of a body, and what follows a 101.
//!
//! Shared by the connection's task, which acts on it, and its service, which fills it. Holds requests,
//! and no request holds it: so there is no cycle.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{conn::Conn, hold::Hold, inbound::Inbound, rest::Rest};
use crate::{config::Limits, plugin::upgrade::PluginUpgrade};

/// What a plugin wants to do with a connection after its 101.
pub(super) type Upgrade = PluginUpgrade<Hold, Inbound>;

#[derive(Debug)]
pub(super) struct Aside {
    pub(super) rest: Rc<Rest>,
    upgrade: RefCell<Option<Upgrade>>,
    /// Requests in a row that need no hyper.
    plain: Cell<u8>,
}

/// So many of them, and the connection goes back: one whose requests are all of another kind never does.
const PLAIN_AGAIN: u8 = 2;

impl Aside {
    pub(super) fn new(conn: &Rc<Conn>, limits: &Arc<Limits>) -> Rc<Self> {
        let rest = Rest::new(conn.clone(), limits.clone());
        Rc::new(Self { rest, upgrade: RefCell::default(), plain: Cell::new(0) })
    }

    /// A request has come that needs hyper, or would need none.
    pub(super) fn request(&self, is_plain: bool) {
        self.plain.set(if is_plain { self.plain.get().saturating_add(1) } else { 0 });
    }

    /// Whether hyper is not needed any more.
    pub(super) fn is_plain_again(&self) -> bool {
        self.plain.get() >= PLAIN_AGAIN
    }

    /// A handler has answered 101.
    pub(super) fn upgrade(&self, upgrade: Upgrade) {
        self.upgrade.replace(Some(upgrade));
    }

    /// Whether one has.
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrade.borrow().is_some()
    }

    /// What it wants, once.
    pub(super) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.take()
    }
}
