//! A running `hotseat serve` of its own: ports, folders, log.
//!
//! Owns the child process. Invariant: Drop ends that child and its own children alone, each by its
//! process id; on a failing test the end of its log is shown.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    client::{Answer, Connection, Failures},
    control::{Control, Deploy},
    events::EventStream,
    eventually,
    gate::Held,
    home::Home,
    procfs,
    traffic::Traffic,
    wire,
};

mod builder;
mod family;
mod launch;
mod rest;
mod upgrade;

pub use builder::{Builder, Ready};
pub use family::Process;
pub use launch::listener;
pub use rest::holders;
pub use upgrade::{Upgrade, Upgrading};

/// A host that has printed its ready line.
#[derive(Debug)]
pub struct Host {
    builder: Builder,
    child: Child,
    ready: Ready,
    failures: Failures,
    orphans: family::Family,
}

impl Host {
    /// Its folders.
    #[must_use]
    pub fn home(&self) -> &Arc<Home> {
        self.builder.home()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its ready line said.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Any command of its binary, in its working directory.
    #[must_use]
    pub fn command(&self) -> Command {
        self.builder.command()
    }

    /// The first data plane address.
    #[must_use]
    pub fn data(&self) -> SocketAddr {
        self.ready.data
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { address: self.ready.control }
    }

    /// Everything published from now on.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> EventStream {
        self.control().events()
    }

    /// A connection to the data plane.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.data()).expect("connect to the data plane")
    }

    /// GET on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        match self.connect().get(target) {
            Ok(answer) => answer,
            Err(error) => {
                self.failures.add();
                panic!("GET {target}: {error}");
            }
        }
    }

    /// Sends raw bytes on a connection of its own and reads one answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes).expect("send");
        connection.read_answer().expect("an answer")
    }

    /// Copies `library` as `name` into the working directory and posts that name.
    #[track_caller]
    pub fn deploy(&self, library: &Path, name: &str) -> Deploy {
        self.home().place(library, name);
        self.control().deploy(Path::new(".").join(name))
    }

    /// As [`Self::deploy`], for bytes.
    #[track_caller]
    pub fn deploy_bytes(&self, bytes: &[u8], name: &str) -> Deploy {
        self.home().write(name, bytes);
        self.control().deploy(Path::new(".").join(name))
    }

    /// A request that stays in flight; needs the `gate` test plugin at `/`.
    #[must_use]
    #[track_caller]
    pub fn hold(&self, path: &str) -> Held {
        Held::start(self.connect(), path)
    }

    /// Load in the background.
    #[must_use]
    pub fn traffic(&self, target: &str) -> Traffic {
        Traffic::start(self.data(), target, &self.failures)
    }

    /// `/v1/status`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        self.control().status()
    }

    /// The generation that serves `plugin`.
    ///
    /// # Panics
    /// When none does.
    #[must_use]
    #[track_caller]
    pub fn active(&self, plugin: &str) -> u64 {
        let status = self.status();
        let active = wire::active(&status, plugin);
        active.unwrap_or_else(|| panic!("nothing serves `{plugin}`: {status}"))
    }

    /// Libraries that are mapped, by the worker that takes new requests.
    #[must_use]
    #[track_caller]
    pub fn loaded(&self) -> Vec<String> {
        procfs::loaded(self.worker_pid())
    }

    /// Every library but the one that serves has gone, or goes within patience.
    ///
    /// # Panics
    /// With `what`, when one stays.
    #[track_caller]
    pub fn assert_all_unloaded(&self, what: &str) {
        let left = || {
            let retired = wire::list(&self.status(), "/retired");
            retired.into_iter().filter(|it| it["life"] != "unloaded").collect::<Vec<_>>()
        };
        eventually!(left().is_empty(), "{what}: {:#?}", left());
        assert_eq!(wire::number(&self.status(), "/resident_count"), 0, "{what}");
        assert_eq!(self.loaded().len(), 1, "{what}: {:?}", self.loaded());
    }

    /// # Panics
    /// When a request through this host's clients failed.
    #[track_caller]
    pub fn assert_no_failed_requests(&self) {
        assert_eq!(self.failures.count(), 0, "requests failed");
    }

    /// Sends a signal to this child.
    ///
    /// # Panics
    /// When it is gone already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signal the host");
    }

    /// Ends it at once with all its processes, as a power cut would.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn kill9(&mut self) {
        // It may have ended by itself, and then its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            family::Family::of(self.pid()).kill();
        }
        self.child.wait().expect("wait for the host");
        std::mem::take(&mut self.orphans).kill();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within patience.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually!(
            {
                status = self.child.try_wait().expect("wait for the host");
                status.is_some()
            },
            "the host's end"
        );
        status.expect("it has just ended")
    }

    /// SIGTERM, and its end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Ends it with SIGTERM and starts another on the same folders.
    ///
    /// # Panics
    /// When it does not end well or the other does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.stop().success(), "a stop ends with 0\n{}", self.log_end());
        self.start_again();
    }

    /// Starts another on the same folders; this one has ended.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_again(&mut self) {
        let (child, ready) = self.builder.spawn_ready();
        self.child = child;
        self.ready = ready;
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.home().read_log();
        let skip = log.lines().count().saturating_sub(40);
        log.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }

    /// Waits until its log says `text`: whoever logs does not wait until it is written.
    ///
    /// # Panics
    /// When it does not within patience.
    #[track_caller]
    pub fn assert_logged(&self, text: &str) {
        eventually!(self.home().read_log().contains(text), "`{text}` in\n{}", self.log_end());
    }

    /// The file that a restart or a test of the state looks at.
    #[must_use]
    pub fn state_file(&self, name: &str) -> PathBuf {
        self.home().state().join(name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("---- the host's log ends with\n{}", self.log_end());
        }
    }
}
