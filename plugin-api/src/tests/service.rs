//! Services under the kit: axum applications as their authors test them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{ConnectInfo, OriginalUri, State, WebSocketUpgrade, ws},
    http::{Uri, Version},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    Context, Handler, Message, Request, RequestInfo, Result, axum_host,
    testing::{Host, Running, Upload},
};

/// What the application asks; the test has a double of it.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

fn app(context: &Context, clock: Clock) -> Result<Router> {
    tracing::info!(name = context.name(), "made");
    let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
    let path = |uri: Uri, OriginalUri(original): OriginalUri| async move {
        format!("{uri} of {original}")
    };
    let time = |State(clock): State<Clock>| async move { clock().to_string() };
    let double = |Json(mut it): Json<Value>| async move {
        it["n"] = json!(it["n"].as_u64().unwrap_or(0) * 2);
        Json(it)
    };
    let tasks = |Extension(info): Extension<RequestInfo>, body: String| async move {
        let task = tokio::spawn(async move {
            tracing::warn!(length = body.len(), request = info.id(), "in a task");
            let blocking = tokio::task::spawn_blocking(|| tracing::error!("on a thread"));
            blocking.await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            body.len()
        });
        task.await.unwrap().to_string()
    };
    let panics = || async {
        let task = tokio::spawn(async { panic!("in a task") });
        let () = task.await.unwrap();
    };
    Ok(Router::new()
        .route("/who", get(who))
        .route("/path", get(path))
        .route("/time", get(time))
        .route("/double", post(double))
        .route("/tasks", post(tasks))
        .route("/panics", get(panics))
        .route("/echo", post(|body: Body| async move { Response::new(body) }))
        .route("/ws", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(shout) }))
        .with_state(clock))
}

async fn shout(mut socket: ws::WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let ws::Message::Text(text) = message {
            let text = text.to_uppercase();
            let is_last = text == "BYE";
            // Less than what is on its way between the two.
            let text = if is_last { text.repeat(2_000) } else { text };
            socket.send(ws::Message::Text(text.into())).await.unwrap();
            if is_last {
                return;
            }
        }
    }
}

fn kit() -> Running {
    let clock: Clock = Arc::new(|| 77);
    axum_host!(move |context: &Context| app(context, clock)).name("shop").start().unwrap()
}

#[test]
fn extractors_find_what_they_look_for() {
    let kit = kit();
    let peer = SocketAddr::from(([192, 0, 2, 7], 99));
    assert_eq!(kit.get("/who").peer(peer).send().text(), "192.0.2.7:99");
    let six: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
    assert_eq!(kit.get("/who").peer(six).send().text(), "[2001:db8::1]:80");
    assert_eq!(kit.get("/who").over_unix().send().status(), 500);
    let mut reply = kit.get("/shop/path?q").mount("/shop").send();
    assert_eq!(reply.text(), "/path?q of /shop/path?q");
    let mut reply = kit.get("/time").send();
    // The application's own field, which over HTTP is the host's to write.
    assert_eq!(reply.header("content-length"), Some("2"));
    assert_eq!(reply.text(), "77");
    let doubled: Value = kit.post("/double", "").json(&json!({"n": 21})).send().json();
    assert_eq!(doubled["n"], 42);
    assert_eq!(kit.get("/none").send().status(), 404);
}

/// A target may say whom it is for, as all of HTTP/2 does.
#[test]
fn targets_may_be_absolute() {
    let kit = kit();
    let path = |target| kit.get(target).header("host", "a:81");
    let text = path("/shop/path?q").mount("/shop").version(Version::HTTP_2).send().text();
    assert_eq!(text, "http://a:81/path?q of http://a:81/shop/path?q");
    assert_eq!(
        path("/path").scheme("https").send().text(),
        "https://a:81/path of https://a:81/path"
    );
    assert_eq!(path("/path?").send().text(), "/path? of /path?");
}

/// Several at one time, each with a runtime of its own: what its threads log is its own.
#[test]
fn runtimes_belong_to_their_kits() {
    let one = |length: usize| {
        let kit = kit();
        for _ in 0..5 {
            let sent = kit.post("/tasks", "x".repeat(length)).send().text();
            assert_eq!(sent, length.to_string());
        }
        let logs = kit.logs();
        let lines: Vec<_> =
            logs.iter().map(|line| (line.message.as_str(), line.field("length"))).collect();
        assert_eq!(lines[0], ("made", None));
        assert_eq!(logs[0].field("name"), Some(&json!("shop")));
        let told = json!(length);
        for pair in lines[1..].chunks(2) {
            assert_eq!(pair, [("in a task", Some(&told)), ("on a thread", None)]);
        }
        assert_eq!(lines.len(), 11);
    };
    std::thread::scope(|scope| {
        for length in 1..4 {
            scope.spawn(move || one(length));
        }
    });
}

#[test]
fn panic_of_a_task_is_recorded() {
    let kit = kit();
    let reply = kit.get("/panics").send();
    assert_eq!(reply.status(), 500);
    assert!(reply.error().unwrap().contains("JoinError"), "{reply:?}");
    assert_eq!(kit.panics()[0].message, "in a task");
}

#[test]
fn bodies_pass_both_ways() {
    let kit = kit();
    let upload = Upload::new();
    let mut reply = kit.post("/echo", "").upload(&upload).send();
    assert!(reply.try_piece().is_pending());
    upload.send("one");
    assert_eq!(reply.piece().unwrap().as_deref(), Some(&b"one"[..]));
    upload.end();
    assert_eq!(reply.piece(), Ok(None));
}

/// A handler with `runtime = "tokio"`.
struct Mixed;

impl Handler for Mixed {
    fn new(_: &Context) -> Result<Self> {
        drop(tokio::runtime::Handle::try_current()?);
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<crate::Response> {
        if request.path() == "/hour" {
            request.context().sleep(Duration::from_secs(3600)).await;
        } else {
            tokio::spawn(tokio::time::sleep(Duration::from_millis(2))).await?;
        }
        Ok(crate::Response::empty())
    }
}

#[test]
fn time_of_the_host_jumps_and_tokios_does_not() {
    let kit = Host::<Mixed>::new().runtime(true).start().unwrap();
    let (hour, task) = (kit.get("/hour").begin(), kit.get("/task").begin());
    assert_eq!(task.answer().status(), 200);
    assert_eq!(kit.now(), Duration::ZERO, "what tokio did was waited for");
    assert_eq!(hour.answer().status(), 200);
    assert_eq!(kit.now(), Duration::from_secs(3600));
    assert!(Host::<Mixed>::new().start().is_err(), "there is none unless it is asked for");
}

#[test]
fn websockets_of_axum_converse() {
    let kit = kit();
    let mut socket = kit.get("/ws").websocket();
    socket.send("hello").unwrap();
    assert_eq!(socket.recv().unwrap(), Some(Message::Text("HELLO".to_owned())));
    socket.close(1000, "enough").unwrap();
    assert_eq!(socket.recv().unwrap(), None);
    assert_eq!(socket.closed(), Some((1000, "enough")));
    socket.end().unwrap();
}

/// Once the service's end of a conversation is gone its client has some time to take the rest.
#[test]
fn the_rest_of_a_conversation_has_its_time() {
    for (stalled, time) in [(false, Duration::ZERO), (true, Duration::from_secs(5))] {
        let kit = kit();
        let mut socket = kit.get("/ws").websocket();
        socket.peer().stall(stalled);
        socket.send("bye").unwrap();
        socket.end().unwrap();
        assert_eq!(kit.now(), time, "stalled: {stalled}");
    }
}

/// What the application has is dropped at the end, within its runtime.
#[test]
fn state_is_dropped_at_the_end() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            drop(tokio::runtime::Handle::current());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::<AtomicUsize>::default();
    let held = Arc::new(Held(drops.clone()));
    let make = move |_: &Context| {
        let keep = move || {
            let _held = &held;
            async { "kept" }
        };
        Ok::<_, crate::Error>(Router::<()>::new().route("/", get(keep)))
    };
    let kit = Host::service(make).start().unwrap();
    assert_eq!(kit.get("/").send().text(), "kept");
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(kit);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// Counts its end.
struct Told(Arc<AtomicUsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Blocks at its end, as clients do that have a runtime of their own.
struct Blocks(#[expect(dead_code, reason = "for its drop")] Told);

impl Drop for Blocks {
    fn drop(&mut self) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {});
    }
}

/// A version ends in order, also where the test has a runtime itself.
#[expect(clippy::unused_async, reason = "within a runtime")]
async fn check_within_a_runtime() {
    let ends = Arc::<AtomicUsize>::default();
    let (state, task) = (Arc::new(Blocks(Told(ends.clone()))), Told(ends.clone()));
    let app = move |_: &Context| {
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(task);
        });
        let sleep = |_: State<Arc<Blocks>>| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            "slept"
        };
        Result::<Router>::Ok(Router::new().route("/", get(sleep)).with_state(state))
    };
    let mut kit = axum_host!(app).start().unwrap();
    assert_eq!(kit.get("/").send().text(), "slept");
    kit.stop();
    assert_eq!(ends.load(Ordering::SeqCst), 2, "the state and the task have ended");
    assert!(kit.panics().is_empty(), "{:?}", kit.panics());
    let refused = axum_host!(|_: &Context| Err::<Router, _>("no room")).start();
    assert_eq!(refused.unwrap_err().to_string(), "no room");
}

#[tokio::test]
async fn a_kit_works_within_a_runtime_of_the_test() {
    check_within_a_runtime().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kit_works_within_a_runtime_of_several_threads() {
    check_within_a_runtime().await;
    // On a thread of the runtime's, too.
    tokio::spawn(check_within_a_runtime()).await.unwrap();
}
