//! A connection of the fake host.
//!
//! Owns two byte queues, one each way. Knows nothing of protocols.
//! Invariant: reading an empty queue is pending until the client has hung up.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use super::Running;
use crate::abi::{self, Answer, Done, IO_PENDING, Io, IoVt, Waker};

/// The client's end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Rc<RefCell<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    to_plugin: VecDeque<u8>,
    from_plugin: Vec<u8>,
    hung_up: bool,
    /// What the plugin may still write before it must wait.
    stuck: bool,
    closed: bool,
}

impl Wire {
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_plugin.extend(bytes);
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().from_plugin)
    }

    pub(crate) fn hang_up(&self) {
        self.0.borrow_mut().hung_up = true;
    }

    pub(crate) fn take_nothing(&self, stuck: bool) {
        self.0.borrow_mut().stuck = stuck;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Starts what the answer wants to do with the connection.
    pub(crate) fn start(&self, answer: &Answer) -> Running<Done> {
        assert_eq!((answer.status, answer.body), (101, abi::body::UPGRADE));
        let data = Rc::into_raw(Rc::clone(&self.0)).cast_mut().cast();
        let start = answer.upgrade.start.expect("an upgrade can be started");
        // SAFETY: started once, with a stream of its own.
        Running::new(unsafe { start(answer.upgrade.data, Io { data, vt: &IO }) })
    }
}

unsafe fn queues<'a>(data: *mut ()) -> &'a RefCell<Queues> {
    // SAFETY: our own data.
    unsafe { &*data.cast::<RefCell<Queues>>() }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).expect("test data is small")
}

unsafe extern "C" fn read(data: *mut (), _: *const Waker, buf: *mut u8, len: usize) -> i64 {
    // SAFETY: our own data.
    let mut queues = unsafe { queues(data) }.borrow_mut();
    let n = len.min(queues.to_plugin.len());
    if n == 0 {
        return if queues.hung_up { 0 } else { IO_PENDING };
    }
    for (at, byte) in queues.to_plugin.drain(..n).enumerate() {
        // SAFETY: room for `len` bytes.
        unsafe { buf.add(at).write(byte) };
    }
    count(n)
}

unsafe extern "C" fn write(data: *mut (), _: *const Waker, buf: *const u8, len: usize) -> i64 {
    // SAFETY: our own data.
    let mut queues = unsafe { queues(data) }.borrow_mut();
    if queues.stuck {
        return IO_PENDING;
    }
    // In small portions, as a full socket would.
    let n = len.min(1000);
    // SAFETY: the plugin lends `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(buf, n) };
    queues.from_plugin.extend_from_slice(bytes);
    count(n)
}

unsafe extern "C" fn flush(_: *mut (), _: *const Waker) -> i64 {
    0
}

unsafe extern "C" fn close(data: *mut ()) {
    // SAFETY: the count of `start`, given back once.
    let queues = unsafe { Rc::from_raw(data.cast_const().cast::<RefCell<Queues>>()) };
    queues.borrow_mut().closed = true;
}

static IO: IoVt = IoVt {
    size: crate::abi::size_of_u32::<IoVt>(),
    read,
    write,
    flush,
    shutdown: flush,
    drop: close,
};
