//! What whoever runs the worker does with its data plane.
//!
//! Thin: [`DataPlane`] explains each. Knows nothing of plugins.

use std::{io, os::fd::OwnedFd};

use super::Worker;
use crate::{
    serve::{Shutting, Socket},
    status::Classes,
};

impl Worker {
    /// See [`DataPlane::take_over`](crate::serve::DataPlane::take_over).
    ///
    /// # Errors
    /// A descriptor cannot be had.
    pub fn take_over(&self, socket: OwnedFd) -> io::Result<()> {
        self.plane.take_over(socket)
    }

    /// See [`DataPlane::serve_one`](crate::serve::DataPlane::serve_one).
    ///
    /// # Errors
    /// It is no connected stream socket.
    pub fn serve_one(&self, socket: OwnedFd, peer: &str) -> io::Result<()> {
        self.plane.serve_one(socket, peer)
    }

    /// See [`DataPlane::shut`](crate::serve::DataPlane::shut).
    pub fn shut(&self, sockets: &[Socket]) -> bool {
        self.plane.shut(sockets)
    }

    /// The same in steps: see [`DataPlane::begin_shut`](crate::serve::DataPlane::begin_shut).
    pub fn begin_shut<'a>(&'a self, sockets: &'a [Socket]) -> Shutting<'a> {
        self.plane.begin_shut(sockets)
    }

    /// See [`DataPlane::classes`](crate::serve::DataPlane::classes).
    #[must_use]
    pub fn classes(&self) -> Classes {
        self.plane.classes()
    }

    /// Connections that have come so far. Wraps.
    #[must_use]
    pub fn come_count(&self) -> usize {
        self.plane.come_count()
    }

    /// See [`DataPlane::cut_all`](crate::serve::DataPlane::cut_all).
    pub fn cut_all(&self) -> usize {
        self.plane.cut_all()
    }
}
