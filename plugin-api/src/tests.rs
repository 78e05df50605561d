//! The shims, driven as a host drives them.
//!
//! Owns the tests of calls, panics, wakers and services; bodies and WebSocket stand beside.
//! Invariant: nothing here reaches into the SDK but through the ABI.

mod bodies;
mod cells;
#[cfg(all(feature = "axum", feature = "testing"))]
mod errors;
mod kit;
#[cfg(all(feature = "axum", feature = "testing"))]
mod service;
#[cfg(feature = "websocket")]
mod websocket;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use crate::{
    Context, Error, Handler, HeaderName, HeaderValue, Method, Phase, Request, Response, Result,
    Signal, StatusCode, Version,
    abi::poll,
    testing::{Host, Reply, Running},
};

static GREETING: &str = "hello";

/// Does what the path says.
struct Scripted {
    context: Context,
    drains: AtomicUsize,
    signals: Mutex<Vec<String>>,
}

impl Handler for Scripted {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self {
            context: context.clone(),
            drains: AtomicUsize::new(0),
            signals: Mutex::default(),
        })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/static" => Ok(Response::text(GREETING)),
            "/error" => Err(Error::new("no such luck")),
            "/panic" => panic!("as the path says"),
            "/bomb" => std::panic::panic_any(Bomb),
            "/bad-header" => Ok(Response::text("x").with_header("a b", "c")),
            "/bomb-on-hold" => {
                let _bomb = Bomb;
                std::future::pending().await
            }
            "/sleep" => {
                self.context.sleep(Duration::from_secs(1)).await;
                Ok(Response::empty().with_status(StatusCode::NO_CONTENT))
            }
            "/wrapped" => Ok(Response::text(wrapped(&self.context).await)),
            "/blocking" => {
                let answer = self.context.blocking(|| 6 * 7).await?;
                Ok(Response::text(answer.to_string()))
            }
            "/blocking-panic" => {
                self.context.blocking(|| panic!("in the pool")).await?;
                Ok(Response::empty())
            }
            "/drain" => {
                self.context.draining().await;
                Ok(Response::text(self.drains.load(Ordering::Relaxed).to_string()))
            }
            "/until-drain" => {
                let first = self.context.until_drain(std::future::pending::<()>()).await;
                Ok(Response::text(format!("{first:?}")))
            }
            "/signals" => Ok(Response::text(self.signals.lock().unwrap().join(","))),
            other => Ok(Response::text(describe(&request, other)?)),
        }
    }

    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        assert_ne!(signal, Signal::Quit, "asked to panic");
        self.signals.lock().unwrap().push(format!("{phase} {signal}"));
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the bomb went off");
    }
}

/// Counts wakes and passes them on, as combinators do.
struct Passing(Mutex<Option<Waker>>, AtomicUsize);

impl Wake for Passing {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        if let Some(waker) = &*self.0.lock().unwrap() {
            waker.wake_by_ref();
        }
    }
}

async fn wrapped(context: &Context) -> String {
    let passing = Arc::new(Passing(Mutex::new(None), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&passing));
    let mut sleep = pin!(context.sleep(Duration::from_secs(1)));
    poll_fn(|cx| {
        passing.0.lock().unwrap().replace(cx.waker().clone());
        sleep.as_mut().poll(&mut std::task::Context::from_waker(&waker))
    })
    .await;
    format!("woken {}", passing.1.load(Ordering::Relaxed))
}

fn describe(request: &Request<'_>, path: &str) -> Result<String> {
    let context = request.context();
    context.info("described", &[("id", &request.id()), ("path", &path)]);
    context.debug("dropped", &[]);
    context.counter("described", 1.0, &[("kind", "test")]);
    let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
    Ok(format!(
        "{} {path} query={:?} a={:?} from {} as {} {:?}; {} {} {} {:?}; X-B={:?} {}",
        request.method(),
        request.query(),
        request.query_value("a"),
        request.peer(),
        request.original_path(),
        request.version(),
        context.name(),
        context.label(),
        context.generation(),
        context.config(),
        request.header("X-B"),
        names.len(),
    ))
}

fn kit() -> Running {
    Host::<Scripted>::new().name("fake").label("7").generation(42).config("{}").start().unwrap()
}

/// Lines of an answer's head.
fn lines(reply: &Reply<'_>) -> Vec<String> {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    reply.headers().iter().map(line).collect()
}

fn error_of(path: &str) -> String {
    let kit = kit();
    let reply = kit.get(path).send();
    assert_eq!(reply.status(), 500);
    reply.error().unwrap().to_owned()
}

#[test]
fn static_text_is_not_copied() {
    let kit = kit();
    let call = kit.get("/static").begin();
    let (code, answer) = call.step().expect("ready at once");
    let answer = answer.expect("an answer");
    assert_eq!((code, answer.status), (poll::READY, 200));
    assert_eq!(answer.bytes.ptr, GREETING.as_ptr());
    assert!(answer.bytes.drop.is_none());
    let reply = kit.get("/static").send();
    assert_eq!(lines(&reply), ["content-type: text/plain; charset=utf-8"]);
}

#[test]
fn static_answer_takes_one_allocation() {
    let kit = kit();
    assert_eq!(kit.get("/static").begin().allocations(), 1, "the task's");
}

#[test]
fn request_is_read_in_place() {
    let kit = kit();
    let mut request = kit.request(Method::PATCH, "/mount/p?a=1%202&b").mount("/mount/");
    for _ in 0..40 {
        request = request.header("x-a", "1");
    }
    let request = request.header("X-B", "two").version(Version::HTTP_2);
    assert_eq!(
        request.send().text(),
        "PATCH /p query=Some(\"a=1%202&b\") a=Some(\"1 2\") from 127.0.0.1:4711 as /mount/p \
         HTTP/2.0; fake 7 42 Some(\"{}\"); X-B=Some(\"two\") 42"
    );
    let lines: Vec<_> = kit.logs().iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["INFO fake: described id=1 path=/p"]);
    assert_eq!(kit.metric("described"), Some(1.0));
    assert_eq!(kit.metrics()[0].labels, [("kind".to_owned(), "test".to_owned())]);
}

#[test]
fn errors_and_malformed_responses_fail_with_text() {
    assert_eq!(error_of("/error"), "no such luck");
    assert_eq!(error_of("/bad-header"), "a response header's name is malformed");
}

#[test]
fn panics_are_caught_and_reported() {
    let kit = kit();
    let reply = kit.get("/panic").send();
    let error = reply.error().unwrap();
    assert!(error.starts_with("as the path says at "), "{error}");
    assert!(error.contains("tests.rs:"), "{error}");
    assert_eq!(kit.panics()[0].to_string(), error);
}

/// What it panics with then is leaked, which Miri would find.
#[cfg(not(miri))]
#[test]
fn payload_that_panics_when_dropped_is_caught() {
    let kit = kit();
    assert_eq!(kit.get("/bomb").send().status(), 500);
    assert_eq!(kit.panics().len(), 2, "the panic, and that of its payload");
}

#[test]
fn drop_of_a_pending_future_may_panic() {
    let kit = kit();
    let call = kit.get("/bomb-on-hold").begin();
    assert!(!call.is_answered());
    call.abort();
    assert_eq!(kit.panics()[0].message, "the bomb went off");
}

struct Unmade<const PANIC: bool>;

impl<const PANIC: bool> Handler for Unmade<PANIC> {
    fn new(context: &Context) -> Result<Self> {
        assert!(!PANIC, "will not be made");
        Err(Error::new(format_args!("{} is not for me", context.name())))
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::empty())
    }
}

#[test]
fn new_that_fails_says_why() {
    let failed = Host::<Unmade<false>>::new().start().unwrap_err();
    assert_eq!(failed.to_string(), "test is not for me");
    let panicked = Host::<Unmade<true>>::new().start().unwrap_err().to_string();
    assert!(panicked.starts_with("panicked: will not be made at "), "{panicked}");
}

#[test]
fn host_gets_its_own_waker_back() {
    let kit = kit();
    let call = kit.get("/sleep").begin();
    assert!(!call.is_answered());
    assert_eq!(kit.timers(), (1, 0));
    kit.advance(Duration::from_secs(1));
    assert_eq!(call.waker().times(), 1);
    assert_eq!(call.waker().clones(), 0, "every clone is freed");
    assert_eq!(call.answer().status(), 204);
}

#[test]
fn wakers_of_authors_reach_the_host_wrapped() {
    let kit = kit();
    let call = kit.get("/wrapped").begin();
    assert!(!call.is_answered());
    assert_eq!(kit.timers(), (0, 1));
    kit.advance(Duration::from_secs(1));
    assert_eq!(call.waker().times(), 1);
    assert_eq!(call.waker().clones(), 0, "every clone is freed");
    assert_eq!(call.answer().text(), "woken 1");
}

#[test]
fn blocking_code_runs_in_the_pool() {
    let kit = kit();
    assert_eq!(kit.get("/blocking").send().text(), "42");
    let reply = kit.get("/blocking-panic").send();
    assert_eq!(reply.error(), Some("the blocking code panicked"));
    assert_eq!(kit.panics()[0].message, "in the pool");
}

#[test]
fn full_pool_is_an_error() {
    let kit = kit();
    kit.refuse_blocking(true);
    assert_eq!(kit.get("/blocking").send().error(), Some("the host's blocking pool has no room"));
    kit.refuse_blocking(false);
    assert_eq!(kit.get("/blocking").send().text(), "42");
}

#[test]
fn drain_notice_wakes_who_waits() {
    let kit = kit();
    let (first, second) = (kit.get("/drain").begin(), kit.get("/until-drain").begin());
    assert!(!first.is_answered() && !second.is_answered());
    assert_eq!(first.waker().times(), 0);
    kit.drain();
    kit.last_call();
    assert_eq!(first.waker().times(), 1);
    assert_eq!(first.answer().text(), "1", "`drain` was called once");
    assert_eq!(second.answer().text(), "None");
}

/// What a newer host knows more of is skipped, and a panic goes no further.
#[test]
fn signals_are_told_by_their_names() {
    let kit = kit();
    for signal in [Signal::Hup, Signal::Usr1, Signal::Usr2, Signal::Int, Signal::Term] {
        kit.signal(signal, Phase::Pre);
    }
    kit.signal(Signal::Quit, Phase::Pre);
    assert_eq!(kit.panics().len(), 1);
    kit.raw_signal(99, 0);
    kit.raw_signal(1, 99);
    kit.signal(Signal::Tstp, Phase::Post);
    let heard = "pre HUP,pre USR1,pre USR2,pre INT,pre TERM,post TSTP";
    assert_eq!(kit.get("/signals").send().text(), heard);
}
