//! Real proxies in front of hosts, configured as `packaging/` recommends.
//!
//! Owns their processes and folders. The recommended files are used as they are, but for
//! addresses, folders and the pace of checks, so that a mistake in them fails a test.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Host, eventually};

mod haproxy;
mod nginx;

pub use haproxy::{Haproxy, Watch};
pub use nginx::Nginx;

/// One host behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it takes requests.
    pub data: SocketAddr,
    /// Where it answers `/readyz`.
    pub health: SocketAddr,
}

impl Backend {
    /// A host, which answers `/readyz` on its control plane.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self { data: host.data(), health: host.control().address }
    }
}

/// A recommended file.
#[track_caller]
fn recommended(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
    fs::read_to_string(&root).unwrap_or_else(|error| panic!("`{}`: {error}", root.display()))
}

/// Replaces what must be there.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the recommended file has `{from}`");
    text.replace(from, to)
}

/// A proxy's process. Ended by its process id, with its workers.
#[derive(Debug)]
struct Running {
    child: Child,
    home: TempDir,
    address: SocketAddr,
}

impl Running {
    /// Writes the configuration and starts `command` with its path as last argument; returns when
    /// `address` takes connections.
    #[track_caller]
    fn start(mut command: Command, home: TempDir, text: &str, address: SocketAddr) -> Self {
        let config = home.path().join("proxy.conf");
        fs::write(&config, text).expect("write the proxy's configuration");
        let log = fs::File::create(home.path().join("log")).expect("create the proxy's log");
        command.arg(config).stdin(Stdio::null()).stderr(log.try_clone().expect("copy the log"));
        let child = command.stdout(log).spawn().expect("start the proxy");
        let mut running = Self { child, home, address };
        let mut ended = false;
        eventually!(
            {
                ended = matches!(running.child.try_wait(), Ok(Some(_)));
                ended || TcpStream::connect(address).is_ok()
            },
            "the proxy listening on {address}"
        );
        // Its log, which is shown then, says why.
        assert!(!ended, "the proxy ended by itself");
        running
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends its workers only when it is asked to end, not when it is killed.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the proxy's log:\n{}", self.log());
        }
    }
}
