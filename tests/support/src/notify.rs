//! The socket of a service manager, as systemd's `NOTIFY_SOCKET`.
//!
//! Owns a datagram socket and everything that came, with who sent it. # Source: sd_notify(3).

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::set_socket_passcred,
    },
};
use tempfile::TempDir;

/// What ends the reading thread; no service says that.
const END: &[u8] = b"X_END_OF_TEST=1";

/// One datagram.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it, as the kernel says.
    pub pid: u32,
    /// Lines of `NAME=value`.
    pub text: String,
    /// The descriptors that came with it (`FDSTORE=1`); those of a barrier are closed at once.
    pub descriptors: Vec<Arc<OwnedFd>>,
    /// When.
    pub at: Instant,
}

impl Message {
    /// The value of `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether `line` is one of its lines.
    #[must_use]
    pub fn says(&self, line: &str) -> bool {
        self.text.lines().any(|it| it == line)
    }
}

/// A service manager that listens.
#[derive(Debug)]
pub struct Notify {
    dir: TempDir,
    came: Arc<Mutex<Vec<Message>>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl Notify {
    /// One that nobody has told anything yet.
    ///
    /// # Panics
    /// When the socket cannot be bound.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("notify-").tempdir().expect("temporary folder");
        let socket = UnixDatagram::bind(dir.path().join("s")).expect("bind the notify socket");
        set_socket_passcred(&socket, true).expect("ask for credentials");
        let came = Arc::new(Mutex::default());
        let list = Arc::clone(&came);
        let thread = std::thread::spawn(move || {
            while let Some(message) = receive(&socket) {
                lock(&list).push(message);
            }
        });
        Self { dir, came, thread: Some(thread) }
    }

    /// The value of `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// Everything that came, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.came).clone()
    }

    /// Everything that came, one text each.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.text).collect()
    }

    /// How many came so far: a place in the list for [`Self::wait_from`].
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.came).len()
    }

    /// Waits for the first message that says `line`.
    ///
    /// # Panics
    /// When none comes within patience.
    #[track_caller]
    pub fn wait(&self, line: &str) -> Message {
        self.wait_from(0, line).1
    }

    /// Waits for the first message at or after `place` that says `line`: the place behind it, and
    /// the message.
    ///
    /// # Panics
    /// When none comes within patience.
    #[track_caller]
    pub fn wait_from(&self, place: usize, line: &str) -> (usize, Message) {
        let mut found = None;
        let mut look = || {
            let came = lock(&self.came);
            let at = came.iter().skip(place).position(|message| message.says(line));
            found = at.map(|at| (place + at + 1, came[place + at].clone()));
            found.is_some()
        };
        crate::patience::until(&mut look, || format!("`{line}` in {:#?}", self.texts()));
        found.expect("it was found")
    }

    /// How many messages say `line`.
    #[must_use]
    pub fn said(&self, line: &str) -> usize {
        lock(&self.came).iter().filter(|message| message.says(line)).count()
    }

    /// # Panics
    /// When a message came from another process.
    #[track_caller]
    pub fn assert_only_from(&self, pid: u32) {
        let others: Vec<_> =
            self.messages().into_iter().filter(|message| message.pid != pid).collect();
        assert!(others.is_empty(), "not from {pid}: {others:#?}");
    }

    /// The store as a service manager keeps it: descriptors by name (`FDSTORE=1`, `FDNAME=`), less
    /// those that were taken out (`FDSTOREREMOVE=1`).
    #[must_use]
    pub fn store(&self) -> Vec<(String, Arc<OwnedFd>)> {
        let mut store = Vec::new();
        for message in self.messages() {
            let name = message.value("FDNAME").unwrap_or("stored").to_owned();
            if message.says("FDSTOREREMOVE=1") {
                store.retain(|(it, _)| *it != name);
            } else if message.says("FDSTORE=1") {
                store.extend(message.descriptors.iter().map(|fd| (name.clone(), fd.clone())));
            }
        }
        store
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        let told = UnixDatagram::unbound().and_then(|socket| socket.send_to(END, self.path()));
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn lock(list: &Mutex<Vec<Message>>) -> std::sync::MutexGuard<'_, Vec<Message>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None`: the end.
fn receive(socket: &UnixDatagram) -> Option<Message> {
    let mut bytes = [0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, &mut parts, &mut control, flags).ok()?;
    let (mut pid, mut descriptors) = (0, Vec::new());
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(who) => {
                pid = who.pid.as_raw_nonzero().get().unsigned_abs();
            }
            RecvAncillaryMessage::ScmRights(fds) => descriptors.extend(fds.map(Arc::new)),
            _ => {}
        }
    }
    let bytes = &bytes[..received.bytes];
    if bytes == END {
        return None;
    }
    let mut message = Message {
        pid,
        text: String::from_utf8_lossy(bytes).into_owned(),
        descriptors,
        at: Instant::now(),
    };
    if !message.says("FDSTORE=1") {
        // The close is what a barrier waits for.
        message.descriptors.clear();
    }
    Some(message)
}
