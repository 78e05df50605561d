//! Starts a thread that waits for ever at the one crossing that its label names behind its first
//! dot (`3.body_drop`).
//!
//! The thread begins in the C library, as C++'s begin in libstdc++, so that nothing but the mark
//! that the host sets around the crossing says whose it is.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{
    cell::RefCell,
    ffi::{c_int, c_void},
    future::{pending, poll_fn},
    mem::transmute,
    pin::pin,
    ptr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll, Wake, Waker},
};

use hotseat_plugin_api::{
    Bytes, Context, Error, Handler, HeaderMap, HeaderName, HeaderValue, Request, Response, Result,
    export_handler,
};

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
type Pause = unsafe extern "C" fn() -> c_int;

fn start_thread() {
    let mut thread = 0;
    // SAFETY: it takes no argument and returns an integer in the register of a pointer.
    let routine = unsafe { transmute::<Pause, Routine>(libc::pause) };
    // SAFETY: it may run on any thread; null attributes are the defaults.
    let rc =
        unsafe { libc::pthread_create(&raw mut thread, ptr::null(), routine, ptr::null_mut()) };
    assert_eq!(rc, 0, "a thread is started");
}

/// Starts it as it is dropped, and is bytes besides.
struct Freed;

impl Drop for Freed {
    fn drop(&mut self) {
        start_thread();
    }
}

impl AsRef<[u8]> for Freed {
    fn as_ref(&self) -> &[u8] {
        b"freed"
    }
}

/// A waker of the plugin's own around the host's; the host keeps a clone of it with a body.
struct Lent {
    host: Waker,
    /// Where the thread is started: when it is woken or, there being one, when it is freed.
    freed: Option<Freed>,
    woken: AtomicBool,
}

impl Wake for Lent {
    fn wake(self: Arc<Self>) {
        if self.freed.is_none() {
            start_thread();
        }
        self.woken.store(true, Ordering::Release);
        self.host.wake_by_ref();
    }
}

thread_local! {
    static LOCAL: RefCell<Option<Freed>> = const { RefCell::new(None) };
}

extern "C" fn end_of_value(_: *mut c_void) {
    start_thread();
}

static KEY: LazyLock<libc::pthread_key_t> = LazyLock::new(|| {
    let mut key = 0;
    // SAFETY: the destructor ignores its argument.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(end_of_value)) }, 0);
    key
});

struct ForeignThreads {
    context: Context,
    at: String,
}

impl ForeignThreads {
    fn at(&self, crossing: &str) {
        if self.at == crossing && !self.context.is_preflight() {
            start_thread();
        }
    }

    /// Polls the request's body once with a waker of its own. Waits until that one is woken, unless
    /// it is the one that starts the thread as it is freed.
    async fn lend_waker(&self, request: &Request<'_>, freed: Option<Freed>) -> Result<Response> {
        let waits = freed.is_none();
        let mut body = request.body();
        let host = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let lent = Arc::new(Lent { host, freed, woken: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&lent));
        if pin!(body.next()).poll(&mut task::Context::from_waker(&waker)).is_ready() {
            return Err(Error::new("the client is to send its body later"));
        }
        drop(waker);
        poll_fn(|_| match waits && !lent.woken.load(Ordering::Acquire) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        Ok(Response::text("lent"))
    }
}

fn freed_value() -> Result<HeaderValue> {
    Ok(HeaderValue::from_maybe_shared(Bytes::from_owner(Freed))?)
}

impl Handler for ForeignThreads {
    fn new(context: &Context) -> Result<Self> {
        let at = context.label().split_once('.').map_or_else(String::new, |it| it.1.to_owned());
        let this = Self { context: context.clone(), at };
        this.at("new");
        Ok(this)
    }

    fn call(&self, request: Request<'_>) -> impl Future<Output = Result<Response>> {
        self.at("call");
        async move {
            self.at("poll");
            match &*self.at {
                "future_drop" => {
                    let _freed = Freed;
                    pending().await
                }
                "header_free" => Ok(Response::text("x").with_header("x-freed", freed_value()?)),
                "bytes_free" => Ok(Response::bytes(Bytes::from_owner(Freed))),
                "piece_free" => Ok(Response::streaming(|mut out| async move {
                    out.send(Bytes::from_owner(Freed)).await;
                    Ok(())
                })),
                "body_poll" => Ok(Response::streaming(|mut out| async move {
                    start_thread();
                    out.send("polled").await;
                    Ok(())
                })),
                "body_drop" => {
                    let freed = Freed;
                    Ok(Response::streaming(|mut out| async move {
                        let _freed = freed;
                        out.send("begun").await;
                        pending().await
                    }))
                }
                "trailers_free" => Ok(Response::streaming(|out| async move {
                    let name = HeaderName::from_static("x-freed");
                    out.trailers(HeaderMap::from_iter([(name, freed_value()?)])).await;
                    Ok(())
                })),
                "upgrade_free" => {
                    let freed = Freed;
                    Ok(Response::upgrade("nothing", |_| async move {
                        drop(freed);
                        Ok(())
                    }))
                }
                "converse" => Ok(Response::upgrade("nothing", |_| async {
                    start_thread();
                    Ok(())
                })),
                "waker_drop" => self.lend_waker(&request, Some(Freed)).await,
                "wake" => self.lend_waker(&request, None).await,
                "job" => {
                    self.context.blocking(start_thread).await?;
                    Ok(Response::text("ran"))
                }
                "thread_local" => {
                    LOCAL.set(Some(Freed));
                    Ok(Response::text("kept"))
                }
                "key" => {
                    // SAFETY: the key exists; its destructor does not look at the value.
                    unsafe { libc::pthread_setspecific(*KEY, ptr::dangling()) };
                    Ok(Response::text("kept"))
                }
                _ => Ok(Response::text("nothing here")),
            }
        }
    }

    fn drain(&self) {
        self.at("drain");
    }

    fn stop(&self) {
        self.at("stop");
    }
}

impl Drop for ForeignThreads {
    fn drop(&mut self) {
        self.at("drop");
    }
}

export_handler!(ForeignThreads);
