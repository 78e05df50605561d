//! A request's body, lent to a plugin.
//!
//! Owns every conversion to [`abi::Bytes`], [`abi::Frame`] and [`abi::Stream`]; the way back is
//! [`stream`](super::stream)'s. Knows nothing of sockets or time limits.
//!
//! A body is polled on its own thread alone. Read on another one, each piece is brought over: whoever
//! reads leaves word at the body's [`desk`]. Never ahead of a reader who waits: a client may take its time
//! while nobody does, and no limit counts.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    marker::PhantomData,
    pin::Pin,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use hotseat_plugin_api::abi;
use hotseat_unload::{Holding, LibraryId, LibraryLease};
use http_body::{Body, Frame};

use super::{
    desk::{self, Desk},
    header,
    lent::{Owner, Shell},
    release,
    shield::shield,
    waker,
};

/// The body of a request as the host reads it. Polls and drops may reach hyper and h2.
pub trait RequestBody: Body<Data = Bytes, Error = String> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = String> + Unpin + 'static> RequestBody for B {}

/// What a body says that was taken back.
const SEVERED: &str = "the request was cut at the drain limit";

/// What it says while its own waker gives it back.
const GIVEN_BACK: &str = "the body was given back";

/// What a poll of a body gives.
enum Piece {
    Frame(Frame<Bytes>),
    Failed(String),
    End,
    Panicked,
}

/// What has been brought over, and who waits for it.
#[derive(Default)]
struct Parcel {
    piece: Option<Piece>,
    /// Word was left, and no piece has come since.
    asked: bool,
    reader: Option<Waker>,
}

/// A body that a plugin has.
struct Lending {
    /// Its thread.
    home: u64,
    desk: Option<Arc<Desk>>,
    library: LibraryId,
    /// The shell, which is that thread's.
    shell: *mut (),
    poll: unsafe fn(*mut (), &mut Context<'_>) -> Poll<Piece>,
    lease: unsafe fn(*mut ()) -> Option<LibraryLease>,
    free: unsafe fn(*mut ()),
    /// Bytes that the plugin has not got yet, if that is known.
    left: AtomicU64,
    /// The shell was given back. Written at home.
    gone: AtomicBool,
    /// Some of it was read elsewhere.
    travels: AtomicBool,
    parcel: Mutex<Parcel>,
}

// SAFETY: the shell is touched on its own thread alone (`is_home`, errands); all else is for all.
unsafe impl Send for Lending {}
// SAFETY: as above.
unsafe impl Sync for Lending {}

/// A body, and who is to hear when it is taken back.
struct Lent<B> {
    body: B,
    lending: Weak<Lending>,
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        // Whoever reads at home finds nothing there any more.
        if let Some(lending) = self.lending.upgrade()
            && lending.travels.load(Ordering::Relaxed)
            && !lending.gone.load(Ordering::Relaxed)
        {
            lending.put(Piece::Failed(SEVERED.to_owned()));
        }
    }
}

/// A request's body in the plugin's hands. May outlive the call.
pub(super) struct HostBody<B, O>(PhantomData<(B, O)>);

impl<B: RequestBody, O: Owner> HostBody<B, O> {
    pub(super) fn into_abi(body: B, owner: O) -> abi::Stream {
        let library = owner.library();
        let left = shield(|| body.size_hint().exact()).flatten().unwrap_or(abi::UNKNOWN_LEN);
        let lending = Arc::new_cyclic(|lending| Lending {
            home: desk::here(),
            desk: desk::own(),
            library,
            shell: Shell::lend(Lent { body, lending: Weak::clone(lending) }, owner),
            poll: Self::poll,
            lease: Self::lease,
            free: Self::free,
            left: AtomicU64::new(left),
            gone: AtomicBool::new(false),
            travels: AtomicBool::new(false),
            parcel: Mutex::default(),
        });
        abi::Stream { data: Arc::into_raw(lending).cast_mut().cast(), vt: (&raw const VT).cast() }
    }

    /// # Safety
    /// `shell` is this body's, not given back yet, and this is its thread.
    unsafe fn poll(shell: *mut (), cx: &mut Context<'_>) -> Poll<Piece> {
        let poll = |lent: &mut Lent<B>, _: &O| match Pin::new(&mut lent.body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Piece::End),
            Poll::Ready(Some(Err(text))) => Poll::Ready(Piece::Failed(text)),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Piece::Frame(frame)),
        };
        // SAFETY: as the caller says.
        let polled = shield(|| release::scope(|| unsafe { Shell::with(shell, poll) }));
        match polled {
            Some(Some(polled)) => polled,
            Some(None) => Poll::Ready(Piece::Failed(SEVERED.to_owned())),
            None => Poll::Ready(Piece::Panicked),
        }
    }

    /// A lease for a waker, while the request is there: nobody else's core is asked for it.
    ///
    /// # Safety
    /// As for [`poll`](Self::poll).
    unsafe fn lease(shell: *mut ()) -> Option<LibraryLease> {
        let lease = |_: &mut Lent<B>, owner: &O| owner.waker_lease();
        // SAFETY: as the caller says.
        release::scope(|| unsafe { Shell::with(shell, lease) })
    }

    /// # Safety
    /// As for [`poll`](Self::poll); the shell is not used again.
    unsafe fn free(shell: *mut ()) {
        // SAFETY: as the caller says.
        shield(|| release::scope(|| unsafe { Shell::<Lent<B>, O>::free(shell) }));
    }
}

impl Lending {
    fn lock(&self) -> MutexGuard<'_, Parcel> {
        self.parcel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_home(&self) -> bool {
        self.home == desk::here()
    }

    fn lease(&self) -> LibraryLease {
        // Its own code asks for it.
        LibraryLease::of(self.library, Holding::Waker).expect("the library is open")
    }

    /// A poll on its own thread.
    ///
    /// # Safety
    /// The plugin has not given it back, and lends its waker for the call.
    unsafe fn poll_at_home(&self, waker: *const abi::Waker) -> Poll<Piece> {
        // One that came back from another thread: what was brought over comes first, and nothing more
        // is, because from now on somebody else waits for it.
        if self.travels.load(Ordering::Relaxed) {
            let (piece, reader) = {
                let mut parcel = self.lock();
                parcel.asked = false;
                (parcel.piece.take(), parcel.reader.take())
            };
            drop(reader);
            if let Some(piece) = piece {
                return Poll::Ready(piece);
            }
        }
        // SAFETY: as the caller says.
        let lease = || unsafe { (self.lease)(self.shell) }.unwrap_or_else(|| self.lease());
        // SAFETY: as the caller says.
        let waker = unsafe { waker::to_std(waker, lease) };
        // The clone of its waker is the plugin's code.
        if self.gone.load(Ordering::Relaxed) {
            return Poll::Ready(Piece::Failed(GIVEN_BACK.to_owned()));
        }
        // SAFETY: on its own thread, and not given back.
        unsafe { (self.poll)(self.shell, &mut Context::from_waker(&waker)) }
    }

    /// A poll on another thread.
    ///
    /// # Safety
    /// As for [`poll_at_home`](Self::poll_at_home).
    unsafe fn poll_elsewhere(self: &Arc<Self>, waker: *const abi::Waker) -> Poll<Piece> {
        self.travels.store(true, Ordering::Relaxed);
        // SAFETY: as the caller says.
        let reader = unsafe { waker::to_std(waker, || self.lease()) };
        let (polled, ask, old) = {
            let mut parcel = self.lock();
            let (polled, old) = match parcel.piece.take() {
                Some(piece) => (Poll::Ready(piece), parcel.reader.take()),
                None => (Poll::Pending, parcel.reader.replace(reader)),
            };
            let ask = polled.is_pending() && !parcel.asked;
            parcel.asked |= ask;
            (polled, ask, old)
        };
        // Outside the lock: it runs the plugin's code.
        drop(old);
        if ask {
            self.ask();
        }
        polled
    }

    /// Leaves word for the next piece.
    fn ask(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let errand = Box::new(move || this.fetch());
        let sent = self.desk.as_ref().map(|desk| desk.send(errand));
        if !matches!(sent, Some(Ok(()))) {
            self.put(Piece::Failed("the thread of the request has ended".to_owned()));
        }
    }

    /// Has a piece brought over, at home.
    fn fetch(self: &Arc<Self>) {
        if self.gone.load(Ordering::Relaxed) || !self.lock().asked {
            return;
        }
        let waker = Waker::from(Arc::new(Again(Arc::downgrade(self))));
        // SAFETY: an errand runs on the desk's thread, which is the body's, and it is not given back.
        let polled = unsafe { (self.poll)(self.shell, &mut Context::from_waker(&waker)) };
        if let Poll::Ready(piece) = polled {
            self.put(piece);
        }
    }

    /// What has come, for whoever reads elsewhere. The end of it is not put behind a piece that nobody
    /// has taken: whoever comes for more is told then.
    fn put(&self, piece: Piece) {
        let (old, reader) = {
            let mut parcel = self.lock();
            parcel.asked = false;
            let is_free = parcel.piece.is_none();
            let old = if is_free { parcel.piece.replace(piece) } else { Some(piece) };
            (old, parcel.reader.take())
        };
        drop(old);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// Asks again when the body has more.
struct Again(Weak<Lending>);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        if let Some(lending) = self.0.upgrade() {
            lending.ask();
        }
    }
}

/// The functions of every body that is lent.
static VT: abi::BodyVt = abi::BodyVt {
    size: abi::size_of_u32::<abi::BodyVt>(),
    poll_next,
    len,
    drop: give_back,
    any_thread: 1,
};

unsafe extern "C" fn poll_next(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> u32 {
    // SAFETY: `into_abi` made it, and the plugin has not given it back.
    unsafe { Arc::increment_strong_count(data.cast::<Lending>()) };
    // SAFETY: the handle that was just counted.
    let lending = unsafe { Arc::from_raw(data.cast::<Lending>()) };
    let polled = match lending.is_home() {
        // SAFETY: the plugin's waker is valid for the call.
        true => shield(|| unsafe { lending.poll_at_home(waker) }),
        // SAFETY: as above.
        false => shield(|| unsafe { lending.poll_elsewhere(waker) }),
    };
    let (code, frame) = match polled {
        Some(Poll::Pending) => return abi::poll::PENDING,
        Some(Poll::Ready(Piece::Frame(frame))) => {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            let less = |left| (left != abi::UNKNOWN_LEN).then(|| u64::saturating_sub(left, len));
            // What is not known stays so.
            let _ = lending.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            (abi::poll::READY, into_frame(frame))
        }
        Some(Poll::Ready(Piece::Failed(text))) => {
            (abi::poll::FAILED, data_frame(Bytes::from(text)))
        }
        Some(Poll::Ready(Piece::End)) => {
            lending.left.store(0, Ordering::Relaxed);
            return abi::poll::END;
        }
        Some(Poll::Ready(Piece::Panicked)) | None => return abi::poll::PANICKED,
    };
    // SAFETY: the plugin gave a place for one frame.
    unsafe { out.write(frame) };
    code
}

unsafe extern "C" fn len(data: *const ()) -> u64 {
    // SAFETY: as in `poll_next`.
    unsafe { &*data.cast::<Lending>() }.left.load(Ordering::Relaxed)
}

unsafe extern "C" fn give_back(data: *mut ()) {
    // SAFETY: as in `poll_next`; called once.
    let lending = unsafe { Arc::from_raw(data.cast_const().cast::<Lending>()) };
    if lending.is_home() {
        return go(&lending);
    }
    let desk = lending.desk.clone();
    shield(|| {
        let errand = Box::new(move || go(&lending));
        // Where the thread has ended, all that its requests were lent was taken back before: the shell
        // is empty.
        drop(desk.map(|desk| desk.send(errand)));
    });
}

/// Gives the shell back, at home.
fn go(lending: &Lending) {
    lending.gone.store(true, Ordering::Relaxed);
    // SAFETY: on its own thread, once: the plugin has given it back.
    unsafe { (lending.free)(lending.shell) };
    let (piece, reader) = {
        let mut parcel = lending.lock();
        (parcel.piece.take(), parcel.reader.take())
    };
    drop((piece, reader));
}

fn into_frame(frame: Frame<Bytes>) -> abi::Frame {
    match frame.into_data() {
        Ok(data) => data_frame(data),
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap_or_default();
            abi::Frame { data: lend(Bytes::new()), trailers: header::owned(trailers) }
        }
    }
}

fn data_frame(data: Bytes) -> abi::Frame {
    abi::Frame { data: lend(data), trailers: abi::Headers::NONE }
}

/// Hands bytes of the host to a plugin, without copying them.
fn lend(bytes: Bytes) -> abi::Bytes {
    unsafe extern "C" fn free(owner: *mut (), _: *const u8, _: usize) {
        // SAFETY: the box made below; the receiver calls this once.
        let bytes = unsafe { Box::from_raw(owner.cast::<Bytes>()) };
        shield(|| drop(bytes));
    }
    let (ptr, len) = (bytes.as_ptr(), bytes.len());
    if len == 0 {
        return abi::Bytes { ptr, len, owner: ptr::null_mut(), drop: None };
    }
    abi::Bytes { ptr, len, owner: Box::into_raw(Box::new(bytes)).cast(), drop: Some(free) }
}

#[cfg(test)]
mod tests;
