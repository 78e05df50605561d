//! Addresses, mounts, prefixes and accounts as people type them.
//!
//! Owns their syntax and what is allowed of them by itself. Binds and resolves nothing.
//! Invariant: a control address over TCP is a loopback address.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::values::{PluginTime, from_text};
use crate::{config::Listen, config::MountRule, ids::PluginName};

/// A prefix is matched with every request: it stays short. Units: bytes.
const PREFIX_BYTES: usize = 1024;

/// What the kernel takes. Units: bytes. Source: unix(7), 108 of `sun_path` with its leading NUL.
const ABSTRACT_BYTES: usize = 107;

/// A text that cannot be that setting. The message says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither TCP nor Unix.
    #[error(
        "`{0}` is not an address: write `IP:PORT`, as in `127.0.0.1:8080`, `unix:PATH` or `unix:@NAME`"
    )]
    Address(String),
    /// The control plane loads code.
    #[error(
        "`{0}` is not a loopback address, and whoever reaches the control plane runs code as this \
         user: write `127.0.0.1:PORT`, `[::1]:PORT` or `unix:PATH`"
    )]
    NotLoopback(SocketAddr),
    /// The control plane loads code.
    #[error(
        "`unix:@{0}` has no file, and so no mode that keeps others out, and whoever reaches the \
         control plane runs code as this user: write `127.0.0.1:PORT`, `[::1]:PORT` or `unix:PATH`"
    )]
    NoMode(String),
    /// No path prefix.
    #[error(
        "`{0}` is not a path prefix: it is `/`, or begins with `/`, does not end with it, has no \
         empty, `.` or `..` segment, and is percent-encoded where it is not plain ASCII, as in \
         `/api`"
    )]
    Prefix(String),
    /// No host name.
    #[error("`{0}` is not a host name: write it without scheme and port, as in `api.example`")]
    Host(String),
    /// No mount.
    #[error("`{0}` is not a mount: write `[HOST]PREFIX=PLUGIN`, as in `/api=billing`")]
    Mount(String),
    /// No plugin name.
    #[error(transparent)]
    Plugin(#[from] crate::ids::IdError),
    /// No account.
    #[error("`{0}` is neither a user id nor an account in /etc/passwd")]
    Account(String),
}

/// An address for anything but the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAt(pub Listen);

/// An address for the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAt(pub Listen);

/// A path prefix, which is also what a health path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

/// A host name in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

/// A plugin's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub PluginName);

/// A user id, or the name of an account that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(pub u32);

/// One mount, as a flag (`[HOST]PREFIX=PLUGIN`) or as a table of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMount(pub MountRule);

impl FromStr for ListenAt {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix('@') {
                Some(name) if name.is_empty() || name.len() > ABSTRACT_BYTES => Err(wrong()),
                Some(name) if name.contains('\0') => Err(wrong()),
                Some(name) => Ok(Self(Listen::Abstract(name.to_owned()))),
                None if path.is_empty() => Err(wrong()),
                None => Ok(Self(Listen::Unix(PathBuf::from(path)))),
            };
        }
        // The one name that needs no resolver.
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(|address| Self(Listen::Tcp(address))).map_err(|_| wrong())
    }
}

impl FromStr for ControlAt {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse::<ListenAt>()?.0 {
            Listen::Tcp(address) if !address.ip().is_loopback() => {
                Err(AddressError::NotLoopback(address))
            }
            Listen::Abstract(name) => Err(AddressError::NoMode(name)),
            at => Ok(Self(at)),
        }
    }
}

impl FromStr for Prefix {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let visible = |c: u8| c.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&c);
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(visible);
        let good = text.len() <= PREFIX_BYTES
            && text
                .strip_prefix('/')
                .is_some_and(|rest| rest.is_empty() || rest.split('/').all(segment));
        if good { Ok(Self(text.to_owned())) } else { Err(AddressError::Prefix(text.to_owned())) }
    }
}

impl FromStr for HostName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let good = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let letter = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
                text.len() <= 253
                    && text.split('.').all(|part| !part.is_empty() && part.bytes().all(letter))
            }
        };
        if good {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(AddressError::Host(text.to_owned()))
        }
    }
}

impl FromStr for Name {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(Self(text.parse()?))
    }
}

impl FromStr for Account {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(id) = text.parse() {
            return Ok(Self(id));
        }
        // Only what the machine itself knows: a name service may be slow, and may lie.
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        accounts
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&text))
            .and_then(|fields| fields.get(2)?.parse().ok())
            .map(Self)
            .ok_or_else(|| AddressError::Account(text.to_owned()))
    }
}

impl FromStr for RawMount {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Mount(text.to_owned());
        let (place, plugin) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (host, prefix) = place.split_at(place.find('/').ok_or_else(wrong)?);
        let host = match host {
            "" => None,
            host => Some(host.parse::<HostName>()?.0),
        };
        let Prefix(prefix) = prefix.parse()?;
        Ok(Self(MountRule { host, prefix, plugin: plugin.parse()?, plugin_time: None }))
    }
}

macro_rules! deserialize_as_text {
    ($($kind:ident)*) => { $(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    )* };
}

deserialize_as_text!(ListenAt ControlAt Prefix HostName Name);

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a user id or the name of an account")]
        enum Typed {
            Id(u32),
            Name(String),
        }
        match Typed::deserialize(deserializer)? {
            Typed::Id(id) => Ok(Self(id)),
            Typed::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for RawMount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            host: Option<HostName>,
            prefix: Prefix,
            plugin: Name,
            plugin_time: Option<PluginTime>,
        }
        let Table { host, prefix, plugin, plugin_time } = Table::deserialize(deserializer)?;
        let host = host.map(|HostName(host)| host);
        let plugin_time = plugin_time.map(Into::into);
        Ok(Self(MountRule { host, prefix: prefix.0, plugin: plugin.0, plugin_time }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_or_unix() {
        for (text, shown) in [
            ("127.0.0.1:8080", "Tcp(127.0.0.1:8080)"),
            ("[::]:80", "Tcp([::]:80)"),
            ("localhost:0", "Tcp(127.0.0.1:0)"),
            ("unix:run/hotseat.sock", "Unix(\"run/hotseat.sock\")"),
            ("unix:@hotseat", "Abstract(\"hotseat\")"),
            ("unix:./@file", "Unix(\"./@file\")"),
        ] {
            assert_eq!(format!("{:?}", text.parse::<ListenAt>().unwrap().0), shown);
        }
        let long = format!("unix:@{}", "a".repeat(ABSTRACT_BYTES + 1));
        assert!(long[..long.len() - 1].parse::<ListenAt>().is_ok());
        for text in [
            "",
            "8080",
            "example.org:80",
            "127.0.0.1",
            "unix:",
            "unix:@",
            "unix:@a\0b",
            "127.0.0.1:65536",
            &long,
        ] {
            let error = AddressError::Address(text.to_owned());
            assert_eq!(text.parse::<ListenAt>(), Err(error));
        }
    }

    #[test]
    fn control_over_tcp_is_loopback() {
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/x", "localhost:1"] {
            assert!(text.parse::<ControlAt>().is_ok(), "{text}");
        }
        for text in ["0.0.0.0:28000", "[::]:28000", "192.168.0.1:28000"] {
            let error = text.parse::<ControlAt>().unwrap_err();
            assert!(matches!(error, AddressError::NotLoopback(_)), "{text}");
        }
        let error = "unix:@hotseat".parse::<ControlAt>().unwrap_err();
        assert_eq!(error, AddressError::NoMode("hotseat".to_owned()));
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        for text in ["/", "/api", "/a/b.c", "/%C3%A4", "/~a;b=c"] {
            assert_eq!(text.parse::<Prefix>(), Ok(Prefix(text.to_owned())), "{text}");
        }
        let long = format!("/{}", "a".repeat(PREFIX_BYTES));
        assert!(long[..PREFIX_BYTES].parse::<Prefix>().is_ok());
        for text in
            ["", "api", "/api/", "//", "/a//b", "/a/../b", "/.", "/a b", "/ä", "/a?b", &long]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_names_place_and_plugin() {
        let rule = |host: Option<&str>, prefix: &str, plugin: &str| {
            let host = host.map(str::to_owned);
            Ok(RawMount(MountRule {
                host,
                prefix: prefix.to_owned(),
                plugin: plugin.parse().unwrap(),
                plugin_time: None,
            }))
        };
        assert_eq!("/=handler".parse(), rule(None, "/", "handler"));
        assert_eq!("API.example/v1=b".parse(), rule(Some("api.example"), "/v1", "b"));
        assert_eq!("[::1]/=b".parse(), rule(Some("[::1]"), "/", "b"));
        for text in ["", "/", "=b", "/=", "/=B", "a:80/=b", "a..b/=b", "/a/=b"] {
            assert!(text.parse::<RawMount>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_account_is_a_number_or_a_name() {
        assert_eq!("33".parse(), Ok(Account(33)));
        assert_eq!("root".parse(), Ok(Account(0)));
        let error = AddressError::Account("no such account".to_owned());
        assert_eq!("no such account".parse::<Account>(), Err(error));
    }
}
