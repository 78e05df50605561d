//! What an HTTP/1 connection keeps beside hyper: the rest of a body, and what follows a 101.
//!
//! Shared by the connection's task, which acts on it, and its service, which fills it. Holds requests,
//! and no request holds it: so there is no cycle.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{conn::Conn, hold::Hold, inbound::Inbound, rest::Rest};
use crate::{config::Limits, plugin::upgrade::PluginUpgrade};

/// What a plugin wants to do with a connection after its 101.
pub(super) type Upgrade = PluginUpgrade<Hold, Inbound>;

#[derive(Debug)]
pub(super) struct Aside {
    pub(super) rest: Rc<Rest>,
    upgrade: RefCell<Option<Upgrade>>,
}

impl Aside {
    pub(super) fn new(conn: &Rc<Conn>, limits: &Arc<Limits>) -> Rc<Self> {
        let rest = Rest::new(conn.clone(), limits.clone());
        Rc::new(Self { rest, upgrade: RefCell::default() })
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
