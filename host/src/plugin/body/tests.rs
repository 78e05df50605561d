//! Bodies that are read at home, elsewhere and both in turn.
#![expect(unsafe_code, reason = "plays the plugin")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    mem::MaybeUninit,
    rc::{Rc, Weak as RcWeak},
    sync::atomic::AtomicUsize,
    thread,
    time::Duration,
};

use hotseat_unload::Record;

use super::*;
use crate::plugin::{lent, tests::Played, waker::HostWaker};

/// Counts wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a client sends: numbers.
#[derive(Default)]
struct Client {
    sent: VecDeque<usize>,
    waker: Option<Waker>,
    polls: usize,
}

struct Pieces(Rc<RefCell<Client>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let mut client = self.0.borrow_mut();
        client.polls += 1;
        match client.sent.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece.to_string()))))),
            None => {
                client.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn send(client: &RefCell<Client>, piece: usize) {
    let waker = {
        let mut client = client.borrow_mut();
        client.sent.push_back(piece);
        client.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A request, as far as a body knows it.
#[derive(Clone)]
struct Asked(Rc<Inner>);

struct Inner {
    record: Arc<Record>,
    ended: Arc<AtomicUsize>,
    lent: RefCell<Option<RcWeak<dyn lent::Lent>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Owner for Asked {
    fn lend(&self, lent: RcWeak<dyn lent::Lent>) {
        self.0.lent.replace(Some(lent));
    }

    fn waker_lease(&self) -> LibraryLease {
        LibraryLease::new(Arc::clone(&self.0.record), Holding::Waker).unwrap()
    }

    fn library(&self) -> LibraryId {
        self.0.record.id()
    }
}

/// A stream in the plugin's hands.
#[derive(Clone, Copy)]
struct Lent(*mut ());

// SAFETY: that it may be sent is what is tried.
unsafe impl Send for Lent {}

struct Lending {
    stream: Lent,
    client: Rc<RefCell<Client>>,
    ended: Arc<AtomicUsize>,
    /// Its request, which is taken back by it.
    request: Asked,
}

fn lend(played: &Played) -> Lending {
    let client = Rc::<RefCell<Client>>::default();
    let ended = Arc::<AtomicUsize>::default();
    let record = Arc::clone(played.record());
    let request = Asked(Rc::new(Inner { record, ended: ended.clone(), lent: RefCell::default() }));
    let stream = HostBody::into_abi(Pieces(client.clone()), request.clone());
    Lending { stream: Lent(stream.data), client, ended, request }
}

impl Lent {
    /// One poll, with the host's own waker: its code, and what came.
    fn poll(self, waker: &Waker) -> (u32, String) {
        let lent = HostWaker::new(waker);
        let mut out = MaybeUninit::<abi::Frame>::uninit();
        // SAFETY: lent, and polled by one thread at a time.
        let code = unsafe { poll_next(self.0, lent.as_ptr(), out.as_mut_ptr()) };
        if ![abi::poll::READY, abi::poll::FAILED].contains(&code) {
            return (code, String::new());
        }
        // SAFETY: both codes fill it.
        let frame = unsafe { out.assume_init() };
        let text = abi::Str { ptr: frame.data.ptr, len: frame.data.len };
        // SAFETY: the frame's bytes, which live until they are freed.
        let text = String::from_utf8_lossy(unsafe { text.bytes() }).into_owned();
        if let Some(free) = frame.data.drop {
            // SAFETY: called once.
            unsafe { free(frame.data.owner, frame.data.ptr, frame.data.len) };
        }
        (code, text)
    }

    fn poll_elsewhere(self, woken: &Arc<Woken>) -> (u32, String) {
        let waker = Waker::from(Arc::clone(woken));
        thread::scope(|scope| {
            let this = self;
            scope.spawn(move || { this }.poll(&waker)).join().unwrap()
        })
    }

    fn give_back(self) {
        // SAFETY: once.
        unsafe { give_back(self.0) };
    }
}

/// Numbers that look like chance, the same each time. Source: Marsaglia, "Xorshift RNGs".
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

fn turn(serving: &mut Pin<Box<impl Future<Output = ()>>>) {
    assert!(serving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::<Woken>::default();
    (Arc::clone(&woken), Waker::from(woken))
}

/// What has been asked for elsewhere takes no waker away from whoever waits at home.
#[test]
fn a_reader_who_comes_home_is_woken() {
    let played = Played::start();
    let mut serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let Lending { stream, client, request: _request, .. } = lend(&played);
    assert_eq!(stream.poll_elsewhere(&Arc::default()).0, abi::poll::PENDING);
    let (near, waker) = woken();
    assert_eq!(stream.poll(&waker).0, abi::poll::PENDING);
    turn(&mut serving);
    send(&client, 1);
    turn(&mut serving);
    assert!(near.is_woken());
    assert_eq!(stream.poll(&waker), (abi::poll::READY, "1".to_owned()));
    stream.give_back();
}

#[test]
fn a_reader_who_goes_again_is_woken() {
    let played = Played::start();
    let mut serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let Lending { stream, client, request: _request, .. } = lend(&played);
    assert_eq!(stream.poll_elsewhere(&Arc::default()).0, abi::poll::PENDING);
    turn(&mut serving);
    send(&client, 1);
    let came = stream.poll(Waker::noop());
    if came.0 == abi::poll::PENDING {
        turn(&mut serving);
        assert_eq!(stream.poll(Waker::noop()), (abi::poll::READY, "1".to_owned()));
    }
    let far = Arc::<Woken>::default();
    assert_eq!(stream.poll_elsewhere(&far).0, abi::poll::PENDING);
    turn(&mut serving);
    send(&client, 2);
    turn(&mut serving);
    assert!(far.is_woken());
    assert_eq!(stream.poll_elsewhere(&far), (abi::poll::READY, "2".to_owned()));
    stream.give_back();
}

/// Nothing is read that nobody waits for.
#[test]
fn nothing_is_read_ahead() {
    let played = Played::start();
    let mut serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let Lending { stream, client, request: _request, .. } = lend(&played);
    let far = Arc::<Woken>::default();
    send(&client, 1);
    send(&client, 2);
    assert_eq!(stream.poll_elsewhere(&far).0, abi::poll::PENDING);
    turn(&mut serving);
    assert_eq!(stream.poll_elsewhere(&far), (abi::poll::READY, "1".to_owned()));
    turn(&mut serving);
    assert_eq!(client.borrow().polls, 1);
    stream.give_back();
}

/// A thread that ends has nothing of it left, and whoever waits elsewhere hears of it.
#[test]
fn a_thread_ends() {
    let played = Played::start();
    let serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let Lending { stream, ended, request, .. } = lend(&played);
    drop(request);
    thread::scope(|scope| scope.spawn(move || { stream }.give_back()).join().unwrap());
    let waits = lend(&played);
    let far = Arc::<Woken>::default();
    assert_eq!(waits.stream.poll_elsewhere(&far).0, abi::poll::PENDING);
    drop(serving);
    assert_eq!(ended.load(Ordering::SeqCst), 1, "given back in the last moment");
    // What a connection's end does to what its requests were lent.
    let lent = waits.request.0.lent.borrow().as_ref().and_then(RcWeak::upgrade).unwrap();
    lent.sever();
    assert!(far.is_woken());
    assert_eq!(waits.stream.poll_elsewhere(&far), (abi::poll::FAILED, SEVERED.to_owned()));
    let stream = waits.stream;
    thread::scope(|scope| scope.spawn(move || { stream }.give_back()).join().unwrap());
}

thread_local! {
    static VICTIM: Cell<Option<Lent>> = const { Cell::new(None) };
}

unsafe extern "C" fn gives_back(waker: *const abi::Waker) -> abi::Waker {
    if let Some(stream) = VICTIM.take() {
        stream.give_back();
    }
    // SAFETY: alive for the call.
    let data = unsafe { (*waker).data };
    abi::Waker { data, aux: ptr::null(), vt: &raw const GIVES_BACK }
}
unsafe extern "C" fn wakes_nobody(_: *const abi::Waker) {}
unsafe extern "C" fn frees_nothing(_: *mut abi::Waker) {}

static GIVES_BACK: abi::WakerVt = abi::WakerVt {
    size: abi::size_of_u32::<abi::WakerVt>(),
    clone: gives_back,
    wake_by_ref: wakes_nobody,
    drop: frees_nothing,
};

/// A waker whose clone gives the body back: it is not touched any more.
#[test]
fn a_waker_gives_it_back() {
    let played = Played::start();
    let _serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let Lending { stream, client, request: _request, .. } = lend(&played);
    VICTIM.set(Some(stream));
    let waker = abi::Waker { data: ptr::null(), aux: ptr::null(), vt: &raw const GIVES_BACK };
    let mut out = MaybeUninit::<abi::Frame>::uninit();
    // SAFETY: lent, with a waker that is alive.
    let code = unsafe { poll_next(stream.0, &raw const waker, out.as_mut_ptr()) };
    assert_eq!((code, client.borrow().polls), (abi::poll::FAILED, 0));
}

/// A reader of its own thread gets all, in order, however it meets the desk's turns.
#[test]
fn all_pieces_come_in_order() {
    const PIECES: usize = 50;
    let played = Played::start();
    let mut serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    for _ in 0..100 {
        let Lending { stream, client, ended, request } = lend(&played);
        drop(request);
        let reader = thread::spawn(move || {
            let stream = { stream };
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut came = Vec::new();
            while came.len() < PIECES {
                match stream.poll(&waker) {
                    (abi::poll::PENDING, _) => thread::park_timeout(Duration::from_secs(20)),
                    (code, text) => came.push((code, text)),
                }
            }
            stream.give_back();
            came
        });
        for piece in 0..PIECES {
            if piece % 3 == 0 {
                turn(&mut serving);
            }
            send(&client, piece);
            turn(&mut serving);
        }
        while ended.load(Ordering::SeqCst) == 0 {
            turn(&mut serving);
            thread::yield_now();
        }
        let sent: Vec<_> = (0..PIECES).map(|it| (abi::poll::READY, it.to_string())).collect();
        assert_eq!(reader.join().unwrap(), sent);
    }
}

/// Readers who change sides at any time lose no piece and no wake-up.
#[test]
fn readers_change_sides() {
    let played = Played::start();
    let mut serving = Box::pin(desk::serve(Arc::default(), Rc::new(|_| unreachable!("no tasks"))));
    let mut chance = Chance(7);
    for _ in 0..60 {
        let Lending { stream, client, ended, request } = lend(&played);
        drop(request);
        let (mut sent, mut came) = (0, 0);
        for _ in 0..40 {
            let (seen, waker) = woken();
            let (code, text) = match chance.below(4) {
                0 => {
                    send(&client, sent);
                    sent += 1;
                    continue;
                }
                1 => {
                    turn(&mut serving);
                    continue;
                }
                2 => stream.poll(&waker),
                _ => stream.poll_elsewhere(&seen),
            };
            if code == abi::poll::READY {
                assert_eq!(text, came.to_string());
                came += 1;
                continue;
            }
            assert_eq!(code, abi::poll::PENDING, "{text}");
            if chance.below(3) == 0 {
                if sent == came {
                    send(&client, sent);
                    sent += 1;
                }
                for _ in 0..3 {
                    turn(&mut serving);
                }
                assert!(seen.is_woken(), "sent {sent}, came {came}");
            }
        }
        stream.give_back();
        turn(&mut serving);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}
