//! A request that stays in flight until the test lets it go.
//!
//! Owns the socket on which the `gate` test plugin reports "started" and waits for "go on". The
//! plugin connects to it from inside the request, so that no clock is involved. A request whose
//! future is dropped closes its connection, which the test sees as well.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::{
    client::{Answer, Connection},
    patience::patience,
};

/// Where held requests report.
#[derive(Debug)]
pub struct Gate {
    dir: TempDir,
    listener: UnixListener,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A gate that nobody waits at yet.
    ///
    /// # Panics
    /// When the socket cannot be bound.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gate-").tempdir().expect("temporary folder");
        let listener = UnixListener::bind(dir.path().join("s")).expect("bind the gate");
        Self { dir, listener }
    }

    /// `gate=PATH`, for the query of a request.
    #[must_use]
    pub fn query(&self) -> String {
        format!("gate={}", self.dir.path().join("s").display())
    }

    /// Waits for the next request that has reached the plugin.
    ///
    /// # Panics
    /// When none comes within patience.
    #[must_use]
    #[track_caller]
    pub fn entered(&self) -> Waiting {
        let time = Timespec::try_from(patience()).expect("patience is a short time");
        let mut set = [PollFd::new(&self.listener, PollFlags::IN)];
        let ready = poll(&mut set, Some(&time)).expect("poll the gate");
        assert!(ready > 0, "no request reached the gate in {:?}", patience());
        let (stream, _) = self.listener.accept().expect("accept at the gate");
        stream.set_read_timeout(Some(patience())).expect("bound the reads");
        Waiting { stream }
    }
}

/// One request inside the plugin.
#[derive(Debug)]
pub struct Waiting {
    stream: UnixStream,
}

impl Waiting {
    /// Lets it go on.
    ///
    /// # Panics
    /// When the plugin is not there any more.
    #[track_caller]
    pub fn release(mut self) {
        self.stream.write_all(b"g").expect("the held request is gone");
    }

    /// Waits until the request's future was dropped without having been released.
    ///
    /// # Panics
    /// When it is still held after patience.
    #[track_caller]
    pub fn wait_dropped(mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("the held request was not dropped: {other:?}"),
        }
    }
}

/// A request held in flight, with the connection that waits for its answer.
#[derive(Debug)]
pub struct Held {
    /// The client's side.
    pub connection: Connection,
    waiting: Option<Waiting>,
    _gate: Gate,
}

impl Held {
    /// Sends GET `path` on `connection` and returns once the plugin has it.
    ///
    /// # Panics
    /// When it does not reach the plugin.
    #[must_use]
    #[track_caller]
    pub fn start(mut connection: Connection, path: &str) -> Self {
        let gate = Gate::new();
        let target = format!("{path}?{}", gate.query());
        connection.send_request("GET", &target, "").expect("send the held request");
        let waiting = Some(gate.entered());
        Self { connection, waiting, _gate: gate }
    }

    /// Lets it go on and reads its answer.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn release(mut self) -> Answer {
        self.waiting.take().expect("released once").release();
        self.connection.read_answer().expect("the held request was answered")
    }

    /// The two sides apart.
    ///
    /// # Panics
    /// Never: it is released only by value.
    #[must_use]
    pub fn into_parts(mut self) -> (Connection, Waiting) {
        let waiting = self.waiting.take().expect("released once");
        (self.connection, waiting)
    }
}
