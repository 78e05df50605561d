//! The shims, driven as a host drives them.
//!
//! Owns the tests of calls, panics, wakers and services; bodies and WebSocket stand beside.
//! Invariant: nothing here reaches into the SDK but through the ABI.

mod bodies;
mod cells;
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
    Context, Error, Handler, Phase, Request, Response, Result, Signal, StatusCode,
    abi::{drain, poll, signal, signal_phase},
    testing::{
        Host, Instance, allocations, create, lock, panics,
        request::{FakeRequest, fixed, lines},
        take,
    },
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
            "/signals" => Ok(Response::text(lock(&self.signals).join(","))),
            other => Ok(Response::text(describe(&request, other)?)),
        }
    }

    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        assert_ne!(signal, Signal::Quit, "asked to panic");
        lock(&self.signals).push(format!("{phase} {signal}"));
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
        if let Some(waker) = &*lock(&self.0) {
            waker.wake_by_ref();
        }
    }
}

async fn wrapped(context: &Context) -> String {
    let passing = Arc::new(Passing(Mutex::new(None), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&passing));
    let mut sleep = pin!(context.sleep(Duration::from_secs(1)));
    poll_fn(|cx| {
        lock(&passing.0).replace(cx.waker().clone());
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

fn answer_of(path: &'static str) -> (u32, Option<String>) {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get(path);
    let mut call = instance.call(&request);
    let (code, answer) = call.finish();
    (code, answer.map(|answer| take(answer.bytes)))
}

#[test]
fn static_text_is_not_copied() {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get("/static");
    let mut call = instance.call(&request);
    let (code, answer) = call.poll();
    let answer = answer.expect("ready at once");
    assert_eq!((code, answer.status), (poll::READY, 200));
    assert_eq!(answer.bytes.ptr, GREETING.as_ptr());
    assert!(answer.bytes.drop.is_none());
    assert_eq!(lines(answer.headers), ["content-type: text/plain; charset=utf-8"]);
}

#[test]
fn static_answer_takes_one_allocation() {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get("/static");
    // The fake waker of the test takes the other one.
    let count = allocations::during(|| {
        let mut call = instance.call(&request);
        let (_, answer) = call.poll();
        assert!(answer.is_some());
    });
    assert_eq!(count, 2, "the task's, and the test's own");
}

#[test]
fn request_is_read_in_place() {
    let headers: Vec<_> = (0..40).map(|_| ("x-a", "1")).chain([("x-b", "two")]).collect();
    let request = FakeRequest::new("PATCH", "/p?a=1%202&b", headers).with_version(20);
    let instance = Instance::<Scripted>::new();
    let mut call = instance.call(&request);
    let (_, answer) = call.finish();
    let (_, _, text) = fixed(answer.expect("ready"));
    assert_eq!(
        text,
        "PATCH /p query=Some(\"a=1%202&b\") a=Some(\"1 2\") from 127.0.0.1:4711 as /mount/x \
         HTTP/2.0; fake 7 42 Some(\"{}\"); X-B=Some(\"two\") 41"
    );
    let lines = lock(&instance.host.lines).clone();
    assert_eq!(lines, ["3 fake: described id=99 path=/p", "metric 0 described kind=test 1"]);
}

#[test]
fn errors_and_malformed_responses_fail_with_text() {
    let failed = |text: &str| (poll::FAILED, Some(text.to_owned()));
    let (code, text) = answer_of("/error");
    assert_eq!((code, text), failed("no such luck"));
    let (code, text) = answer_of("/bad-header");
    assert_eq!((code, text), failed("a response header's name is malformed"));
}

#[test]
fn panics_are_caught_and_reported() {
    let (code, text) = answer_of("/panic");
    assert_eq!((code, text), (poll::PANICKED, None));
    let reported = panics();
    assert!(reported[0].starts_with("as the path says at "), "{reported:?}");
    assert!(reported[0].contains("tests.rs:"), "{reported:?}");
}

#[test]
fn payload_that_panics_when_dropped_is_caught() {
    let (code, _) = answer_of("/bomb");
    assert_eq!(code, poll::PANICKED);
    assert_eq!(panics().len(), 2, "the panic, and that of its payload");
}

#[test]
fn drop_of_a_pending_future_may_panic() {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get("/bomb-on-hold");
    let mut call = instance.call(&request);
    assert_eq!(call.poll().0, poll::PENDING);
    drop(call);
    assert!(panics()[0].starts_with("the bomb went off"));
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
    let failed = create::<Unmade<false>>(Host::new()).err();
    assert_eq!(failed, Some((poll::FAILED, "fake is not for me".to_owned())));
    let panicked = create::<Unmade<true>>(Host::new()).err();
    assert_eq!(panicked, Some((poll::PANICKED, String::new())));
    assert!(panics()[0].starts_with("will not be made"));
}

#[test]
fn host_gets_its_own_waker_back() {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get("/sleep");
    let mut call = instance.call(&request);
    assert_eq!(call.poll().0, poll::PENDING);
    assert_eq!(call.waker.woken.times.load(Ordering::Relaxed), 1);
    let (_, answer) = call.poll();
    assert_eq!(answer.map(|it| it.status), Some(204));
    assert_eq!(instance.host.own_wakers.load(Ordering::Relaxed), 2);
    assert_eq!(Arc::strong_count(&call.waker.woken), 1, "every clone is freed");
}

#[test]
fn wakers_of_authors_reach_the_host_wrapped() {
    let instance = Instance::<Scripted>::new();
    let request = FakeRequest::get("/wrapped");
    let mut call = instance.call(&request);
    assert_eq!(call.poll().0, poll::PENDING);
    assert_eq!(call.waker.woken.times.load(Ordering::Relaxed), 1);
    let (_, answer) = call.poll();
    assert_eq!(answer.map(|it| take(it.bytes)).as_deref(), Some("woken 1"));
    assert_eq!(instance.host.foreign_wakers.load(Ordering::Relaxed), 2);
    assert_eq!(Arc::strong_count(&call.waker.woken), 1, "every clone is freed");
}

#[test]
fn blocking_code_runs_in_the_pool() {
    assert_eq!(answer_of("/blocking").1.as_deref(), Some("42"));
    let (code, text) = answer_of("/blocking-panic");
    assert_eq!((code, text.as_deref()), (poll::FAILED, Some("the blocking code panicked")));
    assert!(panics()[0].starts_with("in the pool"));
}

#[test]
fn full_pool_is_an_error() {
    let instance = Instance::<Scripted>::new();
    instance.host.pool_is_full.store(true, Ordering::Relaxed);
    let request = FakeRequest::get("/blocking");
    let (code, answer) = instance.call(&request).finish();
    let text = answer.map(|it| take(it.bytes));
    assert_eq!(
        (code, text.as_deref()),
        (poll::FAILED, Some("the host's blocking pool has no room"))
    );
}

#[test]
fn drain_notice_wakes_who_waits() {
    let instance = Instance::<Scripted>::new();
    let (first, second) = (FakeRequest::get("/drain"), FakeRequest::get("/until-drain"));
    let (mut first, mut second) = (instance.call(&first), instance.call(&second));
    assert_eq!((first.poll().0, second.poll().0), (poll::PENDING, poll::PENDING));
    assert_eq!(first.waker.woken.times.load(Ordering::Relaxed), 0);
    instance.drain(drain::REQUESTED);
    instance.drain(drain::LAST_CALL);
    assert_eq!(first.waker.woken.times.load(Ordering::Relaxed), 1);
    let text = |answer: Option<crate::abi::Answer>| answer.map(|it| take(it.bytes));
    assert_eq!(text(first.poll().1).as_deref(), Some("1"), "`drain` was called once");
    assert_eq!(text(second.poll().1).as_deref(), Some("None"));
}

/// What a newer host knows more of is skipped, and a panic goes no further.
#[test]
fn signals_are_told_by_their_names() {
    let instance = Instance::<Scripted>::new();
    for number in [signal::HUP, signal::USR1, signal::USR2, signal::INT, signal::TERM] {
        instance.signal(number, signal_phase::PRE);
    }
    instance.signal(signal::QUIT, signal_phase::PRE);
    assert_eq!(panics().len(), 1);
    instance.signal(99, signal_phase::PRE);
    instance.signal(signal::HUP, 99);
    instance.signal(signal::TSTP, signal_phase::POST);
    let request = FakeRequest::get("/signals");
    let (_, answer) = instance.call(&request).finish();
    let text = answer.map(|it| take(it.bytes));
    let heard = "pre HUP,pre USR1,pre USR2,pre INT,pre TERM,post TSTP";
    assert_eq!(text.as_deref(), Some(heard));
}
