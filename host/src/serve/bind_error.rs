//! Why an address cannot be listened on, and what to do about it.
//!
//! Invariant: a released `code` never changes its meaning.

use std::net::SocketAddr;

use rustix::io::Errno;

use crate::{
    config::Listen,
    error::{Coded, Kind},
    sys::{occupant::Occupant, process::shortage},
};

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Requests.
    Data,
    /// Orders.
    Control,
    /// `/livez` and `/readyz` alone.
    Health,
}

impl Plane {
    /// The setting that names its addresses.
    fn flag(self) -> &'static str {
        match self {
            Self::Data => "--listen",
            Self::Control => "--control",
            Self::Health => "--health-listen",
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Somebody else listens there; who, as far as that can be told.
    InUse(Option<Occupant>),
    /// A file that is no socket has its name.
    NoSocket,
    /// The system's own.
    Failed(Errno),
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {}", self.why())]
pub struct BindError {
    pub(super) listen: Listen,
    pub(super) plane: Plane,
    pub(super) problem: Problem,
}

/// Below it, ports are for root alone unless the system says otherwise. Source: ip(7).
const PRIVILEGED_PORTS: u16 = 1024;

impl BindError {
    fn why(&self) -> String {
        match &self.problem {
            Problem::InUse(Some(by)) => format!("it is in use by {by}"),
            Problem::InUse(None) => "it is in use by another process".to_owned(),
            Problem::NoSocket => "a file of that name is there, which is no socket".to_owned(),
            Problem::Failed(errno) => std::io::Error::from(*errno).to_string(),
        }
    }

    fn hint_of(&self, errno: Errno) -> String {
        let flag = self.plane.flag();
        let elsewhere = format!("give another address with `{flag}`");
        match (errno, &self.listen) {
            (Errno::ACCESS | Errno::PERM, Listen::Tcp(address)) if is_privileged(*address) => {
                format!(
                    "ports below {PRIVILEGED_PORTS} need CAP_NET_BIND_SERVICE: run `setcap \
                     cap_net_bind_service=+ep` on the binary, set `AmbientCapabilities=` or a \
                     `.socket` unit in systemd, or {elsewhere}"
                )
            }
            (Errno::ADDRNOTAVAIL, _) => format!(
                "no interface of this machine has that address: see `ip address`, or {elsewhere} \
                 (`0.0.0.0` and `[::]` mean all of them)"
            ),
            (Errno::AFNOSUPPORT, Listen::Tcp(address)) if address.is_ipv6() => {
                format!("this machine has no IPv6: give an IPv4 address with `{flag}`")
            }
            (Errno::NAMETOOLONG | Errno::INVAL, Listen::Unix(_) | Listen::Abstract(_)) => {
                format!("the path of a Unix socket has 107 bytes at most: {elsewhere}")
            }
            (Errno::NOENT | Errno::NOTDIR, Listen::Unix(path)) => {
                let folder = path.parent().unwrap_or(path).display();
                format!("make the folder `{folder}` first, or {elsewhere}")
            }
            (Errno::ACCESS | Errno::PERM | Errno::ROFS, Listen::Unix(path)) => {
                let folder = path.parent().unwrap_or(path).display();
                format!("this account may not make files in `{folder}`: {elsewhere}")
            }
            _ => shortage(errno).unwrap_or(elsewhere),
        }
    }
}

fn is_privileged(address: SocketAddr) -> bool {
    (1..PRIVILEGED_PORTS).contains(&address.port())
}

impl Coded for BindError {
    fn code(&self) -> &'static str {
        match self.problem {
            Problem::InUse(_) => "address_in_use",
            Problem::NoSocket | Problem::Failed(_) => "address_not_bound",
        }
    }

    fn kind(&self) -> Kind {
        match self.problem {
            Problem::InUse(_) => Kind::Conflict,
            Problem::NoSocket | Problem::Failed(_) => Kind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        let flag = self.plane.flag();
        Some(match (&self.problem, &self.listen) {
            (Problem::InUse(Some(by)), _) if by.name == "hotseat" => {
                let pid = by.pid;
                format!(
                    "another host runs there: stop it with `kill {pid}`, or give another \
                         address with `{flag}`"
                )
            }
            (Problem::InUse(Some(by)), _) => {
                let pid = by.pid;
                format!(
                    "end it (`ps {pid}` says what it is), or give another address with `{flag}`"
                )
            }
            (Problem::InUse(None), Listen::Tcp(address)) => {
                let port = address.port();
                format!(
                    "`ss -ltnp 'sport = :{port}'`, as root, says by whom; end it, or give another \
                     address with `{flag}`"
                )
            }
            (Problem::InUse(None), Listen::Unix(_) | Listen::Abstract(_)) => format!(
                "`ss -lxp`, as root, says by whom; end it, or give another address with `{flag}`"
            ),
            (Problem::NoSocket, _) => format!("remove it, or give another address with `{flag}`"),
            (Problem::Failed(errno), _) => self.hint_of(*errno),
        })
    }
}
