//! The listening sockets of the host: bound once, shared with every worker, closed last.
//!
//! Invariant: an address that stays in the settings keeps its socket, whatever else changes.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
    },
};

use rustix::net::Shutdown;

use crate::{
    config::Listen,
    link::Settings,
    serve::{BindError, Plane, Socket, bind},
};

/// A bound address.
#[derive(Debug)]
pub(super) struct Bound {
    /// As it is written in the settings: port 0 stays 0.
    pub(super) listen: Listen,
    pub(super) socket: Socket,
    /// It belongs to whoever started the host: its queue and its file are not ours to end.
    pub(super) given: bool,
}

impl Bound {
    /// Ends the listening for everybody who has the socket: a child that a plugin has forked may keep its
    /// own descriptor for as long as it likes, and nobody would be refused.
    pub(super) fn end(&self) {
        if self.given {
            return;
        }
        // One that does not listen any more needs no end.
        let _ = match &self.socket {
            Socket::Tcp(it) => rustix::net::shutdown(it, Shutdown::Both),
            Socket::Unix(it, _) | Socket::Abstract(it, _) => {
                rustix::net::shutdown(it, Shutdown::Both)
            }
        };
    }
}

/// All of them, by plane: data, control, health.
#[derive(Debug, Default)]
pub(super) struct Sockets(pub(super) [Vec<Bound>; 3]);

const PLANES: [Plane; 3] = [Plane::Data, Plane::Control, Plane::Health];

/// What the settings want to listen on, by plane.
pub(super) fn wanted(settings: &Settings) -> [&[Listen]; 3] {
    [&settings.listen, &settings.control, &settings.health]
}

impl Sockets {
    /// Ends the listening on all of them.
    pub(super) fn end(&self) {
        self.0.iter().flatten().for_each(Bound::end);
    }

    /// Binds what `settings` want and is not bound here yet; `inherited` are taken first.
    ///
    /// # Errors
    /// An address is taken or not ours.
    pub(super) fn bind_missing(
        &self,
        settings: &Settings,
        inherited: &mut Vec<Socket>,
    ) -> Result<Self, BindError> {
        let mut added = Self::default();
        for (plane, list) in wanted(settings).into_iter().enumerate() {
            let mut have: Vec<&Listen> = self.0[plane].iter().map(|it| &it.listen).collect();
            for listen in list {
                if let Some(at) = have.iter().position(|it| *it == listen) {
                    have.swap_remove(at);
                    continue;
                }
                let (socket, given) = match inherited.iter().position(|it| serves(it, listen)) {
                    Some(at) => (inherited.swap_remove(at), true),
                    None => (bind(listen, PLANES[plane])?, false),
                };
                added.0[plane].push(Bound { listen: listen.clone(), socket, given });
            }
        }
        Ok(added)
    }

    /// These and `others`.
    pub(super) fn join(&mut self, others: Self) {
        for (plane, list) in others.0.into_iter().enumerate() {
            self.0[plane].extend(list);
        }
    }

    /// Takes out what `settings` do not want any more.
    pub(super) fn take_surplus(&mut self, settings: &Settings) -> Self {
        let mut surplus = Self::default();
        for (plane, list) in wanted(settings).into_iter().enumerate() {
            let mut want: Vec<&Listen> = list.iter().collect();
            let (keep, out): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.0[plane]).into_iter().partition(|bound| {
                    let at = want.iter().position(|it| **it == bound.listen);
                    at.map(|at| want.swap_remove(at)).is_some()
                });
            self.0[plane] = keep;
            surplus.0[plane] = out;
        }
        surplus
    }

    /// Those that `settings` want, in their order, from here and from `added`.
    pub(super) fn selected<'a>(
        &'a self,
        added: &'a Self,
        settings: &Settings,
    ) -> [Vec<&'a Bound>; 3] {
        let mut planes = wanted(settings).into_iter().enumerate().map(|(plane, list)| {
            let mut have: Vec<_> = self.0[plane].iter().chain(&added.0[plane]).collect();
            let pick = |listen: &Listen| {
                let at = have.iter().position(|it| it.listen == *listen)?;
                Some(have.remove(at))
            };
            list.iter().filter_map(pick).collect()
        });
        std::array::from_fn(|_| planes.next().unwrap_or_default())
    }

    /// Removes the files of Unix sockets.
    pub(super) fn remove_files(&self) {
        for bound in self.0.iter().flatten().filter(|bound| !bound.given) {
            if let Socket::Unix(_, path) = &bound.socket {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// One plane's addresses, as the ready line shows them.
    pub(super) fn shown(&self, plane: usize) -> String {
        let address = |bound: &Bound| {
            bound.socket.address().map_or_else(|_| "?".to_owned(), |address| address.to_string())
        };
        self.0[plane].iter().map(address).collect::<Vec<_>>().join(",")
    }
}

/// The descriptor of a socket.
pub(super) fn descriptor(socket: &Socket) -> BorrowedFd<'_> {
    match socket {
        Socket::Tcp(listener) => listener.as_fd(),
        Socket::Unix(listener, _) | Socket::Abstract(listener, _) => listener.as_fd(),
    }
}

/// The socket that a descriptor from outside is.
///
/// # Errors
/// It is no listening TCP or Unix socket.
pub(super) fn guess(descriptor: OwnedFd) -> io::Result<Socket> {
    use rustix::net::{AddressFamily, sockopt};
    if !sockopt::socket_acceptconn(&descriptor)? {
        return Err(io::Error::other("it does not listen"));
    }
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    // A host before us may have closed it to newcomers.
    crate::sys::filter::accept_new(&descriptor)?;
    if sockopt::socket_domain(&descriptor)? == AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(descriptor);
        let address = listener.local_addr()?;
        if let Some(name) = address.as_abstract_name() {
            let name = String::from_utf8_lossy(name).into_owned();
            return Ok(Socket::Abstract(listener, name));
        }
        let path = address.as_pathname().map(std::path::Path::to_owned);
        return Ok(Socket::Unix(listener, path.unwrap_or_default()));
    }
    Ok(Socket::Tcp(descriptor.into()))
}

/// Whether a socket that was given from outside is bound to what the settings say.
fn serves(socket: &Socket, listen: &Listen) -> bool {
    match (socket, listen) {
        (Socket::Tcp(listener), Listen::Tcp(address)) => {
            listener.local_addr().is_ok_and(|local| local == *address)
        }
        (Socket::Unix(_, path), Listen::Unix(wanted)) => path == wanted,
        (Socket::Abstract(_, name), Listen::Abstract(wanted)) => name == wanted,
        _ => false,
    }
}
