//! The client's end of a connection after `101 Switching Protocols`.
//!
//! Owns two queues of bytes, one each way.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    collections::VecDeque,
    fmt,
    rc::Rc,
    sync::{Arc, Mutex},
};

use super::{
    Running,
    driver::{Inside, Job, outcome},
    waker::Kept,
    world::{World, lock},
};
use crate::{
    Error, Result,
    abi::{self, Done, IO_PENDING, Io, IoVt, Waker},
    upgrade::OwnedUpgrade,
};

/// What the plugin may write before it must wait, as with a socket. Units: bytes.
const ROOM: usize = 64 << 10;
/// What one write takes at most: an author who takes it for all is found out. Units: bytes.
const PORTION: usize = 1000;

/// A connection to the plugin, as its client has it. When it is dropped it is closed.
pub struct Peer<'k> {
    pub(super) kit: &'k Running,
    what: String,
    wire: Arc<Wire>,
    talk: Rc<Job<Done>>,
    ended: Option<Result<(), String>>,
}

#[derive(Debug)]
struct Wire {
    world: &'static World,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    to_plugin: VecDeque<u8>,
    from_plugin: Vec<u8>,
    /// The client sends no more.
    hung_up: bool,
    /// The client takes nothing.
    stalled: bool,
    /// The plugin sends no more.
    shut_down: bool,
    /// The plugin has dropped its end.
    closed: bool,
    /// The client has dropped its end.
    broken: bool,
    reads: Option<Kept>,
    writes: Option<Kept>,
}

impl Wire {
    /// Changes the queues and wakes who waits for them.
    fn change(&self, change: impl FnOnce(&mut Queues)) {
        let waiting = {
            let mut queues = lock(&self.queues);
            change(&mut queues);
            (queues.reads.take(), queues.writes.take())
        };
        waiting.0.into_iter().chain(waiting.1).for_each(Kept::wake);
    }
}

impl<'k> Peer<'k> {
    pub(super) fn new(kit: &'k Running, what: String, upgrade: Inside<OwnedUpgrade>) -> Self {
        let world = kit.world();
        let wire = Arc::new(Wire { world, queues: Mutex::default() });
        let inside = world.enter();
        let abi::Upgrade { data, start, .. } = upgrade.into_inner().into_abi();
        let start = start.expect("an upgrade can be started");
        let io = Io { data: Arc::into_raw(Arc::clone(&wire)).cast_mut().cast(), vt: &VT };
        // SAFETY: started once, with a connection of its own.
        let talk = Rc::new(Job::new(world, unsafe { start(data, io) }));
        drop(inside);
        kit.driver().add(talk.clone());
        Self { kit, what, wire, talk, ended: None }
    }

    /// Sends bytes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.wire.change(|queues| queues.to_plugin.extend(bytes.as_ref()));
    }

    /// Waits for bytes and takes all that there are; none when the plugin has ended its side.
    ///
    /// # Panics
    /// When nothing comes within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        self.kit.driver().wait(&self.what, || {
            let received = self.take();
            let is_over = {
                let queues = lock(&self.wire.queues);
                queues.shut_down || queues.closed
            };
            (is_over || !received.is_empty()).then_some(received)
        })
    }

    /// What there is without time passing, once everything has gone on that can.
    ///
    /// # Panics
    /// When the kit does not come to rest within its [patience](super::Host::patience).
    #[must_use]
    #[track_caller]
    pub fn received(&self) -> Vec<u8> {
        self.kit.settle();
        self.take()
    }

    fn take(&self) -> Vec<u8> {
        let mut received = Vec::new();
        self.wire.change(|queues| received = std::mem::take(&mut queues.from_plugin));
        received
    }

    /// Ends the client's side; the plugin may go on sending.
    pub fn hang_up(&self) {
        self.wire.change(|queues| queues.hung_up = true);
    }

    /// Takes nothing from now on, or takes again: the plugin must wait as with a slow client.
    pub fn stall(&self, stalled: bool) {
        self.wire.change(|queues| queues.stalled = stalled);
    }

    /// Whether the plugin has closed the connection. Lets everything go on first, without time passing.
    ///
    /// # Panics
    /// When the kit does not come to rest within its [patience](super::Host::patience).
    #[must_use]
    #[track_caller]
    pub fn is_closed(&self) -> bool {
        self.kit.settle();
        lock(&self.wire.queues).closed
    }

    /// Waits until the plugin's side of the conversation has come to its end.
    ///
    /// # Errors
    /// What it has ended with.
    ///
    /// # Panics
    /// When it does not within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn end(&mut self) -> Result<()> {
        let (kit, talk) = (self.kit, Rc::clone(&self.talk));
        let ended = self.ended.get_or_insert_with(|| {
            let end = kit.driver().wait(&self.what, || talk.take_end());
            talk.cancel();
            outcome(kit.world(), end)
        });
        ended.clone().map_err(Error::new)
    }

    /// Reads what is there.
    #[cfg(feature = "websocket")]
    pub(super) fn read(&self, buf: &mut [u8]) -> std::io::Result<usize> {
        let mut read = Err(std::io::ErrorKind::WouldBlock.into());
        self.wire.change(|queues| {
            let n = buf.len().min(queues.from_plugin.len());
            if n > 0 {
                for (to, from) in buf.iter_mut().zip(queues.from_plugin.drain(..n)) {
                    *to = from;
                }
                read = Ok(n);
            } else if queues.shut_down || queues.closed {
                read = Ok(0);
            }
        });
        read
    }

    #[cfg(feature = "websocket")]
    pub(super) fn what(&self) -> &str {
        &self.what
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        self.wire.change(|queues| {
            queues.hung_up = true;
            queues.broken = true;
        });
    }
}

impl fmt::Debug for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("of", &self.what).finish_non_exhaustive()
    }
}

/// # Safety
/// `data` is the connection of an `Io` that is not dropped during `'a`.
unsafe fn wire<'a>(data: *mut ()) -> &'a Wire {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<Wire>() }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

unsafe extern "C" fn read(data: *mut (), waker: *const Waker, buf: *mut u8, len: usize) -> i64 {
    // SAFETY: our own data.
    let wire = unsafe { wire(data) };
    // SAFETY: the waker is valid for the call.
    let kept = unsafe { Kept::of(wire.world, waker) };
    let mut queues = lock(&wire.queues);
    let n = len.min(queues.to_plugin.len());
    if n == 0 && !queues.hung_up && len > 0 {
        let before = queues.reads.replace(kept);
        drop(queues);
        drop(before);
        return IO_PENDING;
    }
    for (at, byte) in queues.to_plugin.drain(..n).enumerate() {
        // SAFETY: room for `len` bytes.
        unsafe { buf.add(at).write(byte) };
    }
    count(n)
}

unsafe extern "C" fn write(data: *mut (), waker: *const Waker, buf: *const u8, len: usize) -> i64 {
    // SAFETY: our own data.
    let wire = unsafe { wire(data) };
    // SAFETY: the waker is valid for the call.
    let kept = unsafe { Kept::of(wire.world, waker) };
    let mut queues = lock(&wire.queues);
    if queues.broken {
        return -i64::from(libc::EPIPE);
    }
    let room = if queues.stalled { 0 } else { ROOM.saturating_sub(queues.from_plugin.len()) };
    let n = len.min(room).min(PORTION);
    if n == 0 && len > 0 {
        let before = queues.writes.replace(kept);
        drop(queues);
        drop(before);
        return IO_PENDING;
    }
    // SAFETY: the plugin lends `len` bytes.
    queues.from_plugin.extend_from_slice(unsafe { std::slice::from_raw_parts(buf, n) });
    drop(queues);
    // Who waits for it is the test.
    wire.world.bell.ring();
    count(n)
}

unsafe extern "C" fn flush(_: *mut (), _: *const Waker) -> i64 {
    0
}

unsafe extern "C" fn shutdown(data: *mut (), _: *const Waker) -> i64 {
    // SAFETY: our own data.
    let wire = unsafe { wire(data) };
    lock(&wire.queues).shut_down = true;
    wire.world.bell.ring();
    0
}

unsafe extern "C" fn close(data: *mut ()) {
    // SAFETY: the count of `Peer::new`, given back once.
    let wire = unsafe { Arc::from_raw(data.cast_const().cast::<Wire>()) };
    wire.change(|queues| queues.closed = true);
    wire.world.bell.ring();
}

static VT: IoVt =
    IoVt { size: abi::size_of_u32::<IoVt>(), read, write, flush, shutdown, drop: close };
