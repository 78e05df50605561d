//! The kit itself: its time, its limits, and that several of it stay apart.

#[cfg(not(miri))]
use std::{env, process::Command};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::Bomb;
use crate::{
    Blocking, BlockingHandler, Context, Error, Handler, OwnedRequest, Request, Response, Result,
    testing::{Host, Running, Upload},
};

mod beside;
#[cfg(all(feature = "tracing", not(miri)))]
mod own_log;
mod services;

const HOUR: Duration = Duration::from_secs(3600);

/// Does what the path says.
struct Plugin {
    context: Context,
    stops: Arc<AtomicUsize>,
    /// Asked to end the thread that was made.
    threads: Mutex<Vec<mpsc::Sender<String>>>,
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone(), stops: Arc::default(), threads: Mutex::default() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let context = &self.context;
        match request.path() {
            "/hour" => {
                let before = context.now();
                context.sleep(HOUR).await;
                Ok(Response::text(format!("{:?}", context.now() - before)))
            }
            "/ticks" => {
                let context = context.clone();
                Ok(Response::streaming(move |mut out| async move {
                    while context.until_drain(context.sleep(HOUR)).await.is_some() {
                        out.send("tick").await;
                    }
                    Ok(())
                }))
            }
            "/left" => {
                let before = request.time_left();
                context.sleep(HOUR / 4).await;
                let until = request.deadline().map(|it| it - context.now());
                let left = request.time_left();
                Ok(Response::text(format!("{before:?} then {left:?} by {until:?}")))
            }
            "/never" => std::future::pending().await,
            "/held" => {
                let _bomb = Bomb;
                std::future::pending().await
            }
            "/length" => {
                let length = request.body().bytes(100).await?.len();
                context.info("measured", &[("length", &length)]);
                Ok(Response::text(length.to_string()))
            }
            "/thread" => {
                let (ask, asked) = mpsc::channel::<String>();
                // Through nothing of the context's: by `tracing`, or by a panic.
                thread::spawn(move || {
                    for word in asked {
                        say(&word);
                    }
                });
                self.threads.lock().unwrap().push(ask);
                Ok(Response::empty())
            }
            path if path.starts_with("/say/") => {
                say(&path[5..]);
                Ok(Response::empty())
            }
            "/json" => Ok(Response::text(r#"{"a": 1}"#)),
            other => Err(Error::new(format_args!("no `{other}`"))),
        }
    }

    fn stop(&self) {
        self.stops.fetch_add(1, Ordering::Relaxed);
    }
}

/// By way of what is one for the process.
fn say(word: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(word, "said");
    let word = word.to_owned();
    let _ = catch_unwind(move || panic!("{word}"));
}

fn kit() -> Running {
    Host::<Plugin>::new().start().unwrap()
}

#[test]
fn time_jumps_when_nothing_else_can_go_on() {
    let kit = kit();
    let began = std::time::Instant::now();
    let first = kit.get("/hour").begin();
    kit.advance(HOUR / 2);
    let second = kit.get("/hour").begin();
    assert!(!first.is_answered());
    assert_eq!(first.answer().text(), "3600s");
    assert_eq!(kit.now(), HOUR);
    assert!(!second.is_answered());
    assert_eq!(second.answer().text(), "3600s");
    assert_eq!(kit.now(), HOUR * 3 / 2);
    let mut ticks = kit.get("/ticks").send();
    assert!(ticks.try_piece().is_pending(), "no time passes by looking");
    assert_eq!(ticks.piece().unwrap().as_deref(), Some(&b"tick"[..]));
    kit.drain();
    assert_eq!(ticks.piece(), Ok(None));
    assert_eq!(kit.now(), HOUR * 5 / 2);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn real_time_is_real() {
    let kit =
        Host::<Plugin>::new().real_time().patience(Duration::from_millis(50)).start().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| kit.get("/hour").send())).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("GET /hour has not come to its end within 50ms"), "{text}");
}

#[test]
fn test_that_is_stuck_ends_and_says_what_is_pending() {
    let kit = Host::<Plugin>::new().patience(Duration::from_millis(50)).start().unwrap();
    let blocked = kit.get("/never").begin();
    let panic = catch_unwind(AssertUnwindSafe(|| kit.get("/never").send())).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("GET /never has not come to its end within 50ms"), "{text}");
    assert!(text.contains("there are 0 timers at 0ns"), "{text}");
    assert!(kit.panics().is_empty(), "the test's own panic is none of the plugin's");
    drop(blocked);
}

/// By the test that has it wrong, not by a 500 of the plugin's.
#[test]
fn field_that_no_client_can_send_fails_the_test() {
    let kit = kit();
    for (name, value, says) in [
        ("x y", "z", "`x y` is no name of a field"),
        ("", "z", "`` is no name of a field"),
        ("x", "a\nb", "`x`: [97, 10, 98] is no value of a field"),
    ] {
        let ask = || kit.get("/json").header(name, value).send();
        let panic = catch_unwind(AssertUnwindSafe(ask)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), says);
    }
    let mut reply = kit.get("/json").header("X-Any", [0xfc]).send();
    assert_eq!((reply.status().as_u16(), reply.text().as_str()), (200, r#"{"a": 1}"#));
    assert!(kit.panics().is_empty());
}

#[test]
fn upload_that_is_dropped_breaks_off() {
    let kit = kit();
    let upload = Upload::new();
    let call = kit.post("/length", "").upload(&upload).begin();
    let other = upload.clone();
    drop(upload);
    other.send("one");
    assert!(!call.is_answered(), "a clone of it is left");
    drop(other);
    let error = call.answer().error().unwrap().to_owned();
    assert!(error.contains("the test has dropped its `Upload`"), "{error}");
    let whole = Upload::new();
    let call = kit.post("/length", "").upload(&whole).begin();
    whole.send("four");
    whole.end();
    drop(whole);
    assert_eq!(call.answer().text(), "4");
}

#[test]
fn test_that_forgets_the_end_of_a_body_is_told() {
    let kit = Host::<Plugin>::new().patience(Duration::from_millis(50)).start().unwrap();
    let upload = Upload::new();
    let stuck = |path: &str| {
        let ask = || kit.post(path, "").upload(&upload).send();
        let panic = catch_unwind(AssertUnwindSafe(ask)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    const SAYS: &str = "somebody who waits for a request's body that the test has not ended";
    let text = stuck("/length");
    assert!(text.contains(SAYS), "{text}");
    let text = stuck("/never");
    assert!(!text.contains(SAYS), "nobody reads it: {text}");
}

#[test]
fn deadline_drops_the_call() {
    let kit = kit();
    let call = kit.get("/held").deadline(HOUR).begin();
    assert!(!call.is_answered());
    kit.advance(HOUR / 4);
    let left = kit.get("/left").deadline(HOUR).send().text();
    assert_eq!(left, "Some(3600s) then Some(2700s) by Some(2700s)");
    let mut reply = call.answer();
    assert_eq!((reply.status().as_u16(), reply.text().as_str()), (504, "the deadline has passed"));
    assert_eq!(kit.now(), HOUR);
    assert_eq!(kit.panics()[0].message, "the bomb went off", "its future is dropped");
}

#[test]
fn client_that_leaves_is_told_of() {
    let kit = kit();
    let call = kit.get("/never").begin();
    let gone = call.client_gone();
    assert!(!gone());
    call.hang_up();
    assert!(gone());
    assert!(!call.is_answered(), "the call goes on");
    let call = kit.get("/held").begin();
    assert!(!call.is_answered());
    let gone = call.client_gone();
    call.abort();
    assert!(gone());
    assert_eq!(kit.panics().len(), 1, "its future is dropped");
    let reply = kit.get("/ticks").send();
    drop(reply);
    kit.settle();
}

#[test]
fn version_ends_once() {
    let stops = Arc::<AtomicUsize>::default();
    let counted = stops.clone();
    let make = move |context: &Context| {
        Plugin::new(context).map(|plugin| Plugin { stops: counted, ..plugin })
    };
    let mut kit = Host::made(make).start().unwrap();
    assert_eq!(kit.post("/length", "four").send().text(), "4");
    kit.stop();
    kit.stop();
    assert_eq!(kit.logs()[0].to_string(), "INFO test: measured length=4", "kept");
    let panic = catch_unwind(AssertUnwindSafe(|| kit.get("/json").send())).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "GET /json: the kit was stopped");
    drop(kit);
    assert_eq!(stops.load(Ordering::Relaxed), 1);
}

/// It panics on the pool's thread, and is raised again on the one that waits for the call.
struct Panics;

impl BlockingHandler for Panics {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn call(&self, _: OwnedRequest) -> Result<Response> {
        panic!("on the pool")
    }
}

#[test]
fn a_panic_of_a_blocking_handler_is_one() {
    let kit = Host::<Blocking<Panics>>::new().start().unwrap();
    for count in 1..3 {
        let reply = kit.get("/").send();
        let error = reply.error().unwrap();
        assert!(error.contains("on the pool at ") && error.contains("kit.rs:"), "{error}");
        assert_eq!(kit.panics().len(), count);
    }
}

#[test]
fn settings_that_are_wrong_are_told() {
    let failed = |host: Host<Plugin>| host.start().unwrap_err().to_string();
    let text = failed(Host::new().config("{"));
    assert!(text.starts_with("the configuration is no JSON: EOF"), "{text}");
    let text = failed(Host::new().log("warn,sqlx=loud"));
    assert!(text.starts_with("`loud` is no log level: off, error,"), "{text}");
    let panic = catch_unwind(|| drop(kit().get("x").send())).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "`x` is no path: it begins with `/`");
}

#[test]
fn levels_go_by_module() {
    let lines = |levels: &str| {
        let kit = Host::<Plugin>::new().name("shop").log(levels).start().unwrap();
        assert_eq!(kit.post("/length", "four").send().status(), 200);
        kit.logs().len()
    };
    assert_eq!(lines("warn"), 0);
    assert_eq!(lines("warn,shop=info"), 1);
    assert_eq!(lines("warn,sho=info"), 0);
    assert_eq!(lines("trace,shop=off"), 0);
}

#[test]
fn answers_are_read_as_json() {
    let kit = kit();
    let json: serde_json::Value = kit.get("/json").send().json();
    assert_eq!(json["a"], 1);
    let sent = kit.post("/length", "").json(&json).send().text();
    assert_eq!(sent, r#"{"a":1}"#.len().to_string());
}

/// Bodies come from other threads too.
#[test]
fn upload_of_another_thread_wakes_the_plugin() {
    let kit = kit();
    let upload = Upload::new();
    let sender = upload.clone();
    let sent = thread::spawn(move || {
        sender.send("abc");
        sender.end();
    });
    assert_eq!(kit.post("/length", "").upload(&upload).send().text(), "3");
    sent.join().unwrap();
}

/// What plugin code has said, as [`say`] does.
fn said(kit: &Running) -> Vec<String> {
    let panics = kit.panics();
    #[cfg(feature = "tracing")]
    {
        let lines = kit.logs();
        let of = |line: &crate::testing::LogLine| {
            line.field("word").unwrap().as_str().unwrap().to_owned()
        };
        let lines: Vec<_> = lines.iter().map(of).collect();
        let panics: Vec<_> = panics.iter().map(|panic| panic.message.clone()).collect();
        assert_eq!(lines, panics);
    }
    panics.into_iter().map(|panic| panic.message).collect()
}

/// Of two at one time, each in a thread of its own, each has what its plugin said.
#[test]
fn kits_stay_apart() {
    const COUNT: usize = if cfg!(miri) { 2 } else { 20 };
    let both = Barrier::new(2);
    let one = |mine: &str, other: &str| {
        let kit = kit();
        both.wait();
        for n in 0..COUNT {
            assert_eq!(kit.get(&format!("/say/{mine}")).send().status(), 200);
            // The test's own, between two crossings.
            say("nobody's");
            if n == COUNT / 2 {
                both.wait();
            }
        }
        let said = said(&kit);
        assert_eq!(said.len(), COUNT);
        assert!(said.iter().all(|word| word == mine), "{said:?} and {other}");
        both.wait();
    };
    thread::scope(|scope| {
        scope.spawn(|| one("a", "b"));
        scope.spawn(|| one("b", "a"));
    });
}

/// A thread that plugin code has made is its kit's, and harms nobody when that has gone.
#[cfg(not(miri))]
#[test]
fn threads_belong_to_who_made_them() {
    let (first, second) = (kit(), kit());
    let (ask, heard) = mpsc::channel();
    let make = move |context: &Context| {
        let (begin, begun) = mpsc::channel::<String>();
        ask.send(begin).unwrap();
        thread::spawn(move || begun.iter().for_each(|word| say(&word)));
        Plugin::new(context)
    };
    let third = Host::made(make).start().unwrap();
    let left = heard.recv().unwrap();
    assert_eq!(first.get("/thread").send().status(), 200);
    left.send("third's".to_owned()).unwrap();
    wait(|| third.panics().len() == 1);
    assert_eq!(said(&third), ["third's"]);
    drop(third);
    left.send("of one that has gone".to_owned()).unwrap();
    // It ends when it has said all.
    drop(left);
    drop(first);
    let fourth = kit();
    assert_eq!(second.get("/say/second's").send().status(), 200);
    assert_eq!(said(&second), ["second's"]);
    assert!(fourth.panics().is_empty() && fourth.logs().is_empty());
}

#[cfg(not(miri))]
fn wait(is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "it takes too long");
        thread::yield_now();
    }
}

/// Runs as a child too, where it fails as a test of an author does.
#[cfg(not(miri))]
#[test]
fn failed_assertion_is_printed() {
    const CHILD: &str = "HOTSEAT_TEST_KIT_CHILD";
    if env::var_os(CHILD).is_some() {
        let kit = kit();
        assert_eq!(kit.post("/length", "four").send().status(), 200);
        assert_eq!(kit.get("/say/as-told").send().status(), 200);
        assert!(kit.panics().is_empty(), "the author's own words");
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "tests::kit::failed_assertion_is_printed"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    for part in
        ["as-told", "the author's own words", "the plugin's log: INFO test: measured length=4"]
    {
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

/// What the SDK makes of the host's services, by the kit's clock.
struct Busy(Context);

impl Handler for Busy {
    fn new(context: &Context) -> Result<Self> {
        let count = context.clone();
        let work = move || {
            let count = count.clone();
            async move {
                count.cell("runs").update(|old| vec![b'x'; old.map_or(0, <[u8]>::len) + 1])?;
                count.topic("runs")?.publish("one")?;
                Ok::<_, Error>(())
            }
        };
        drop(context.every(HOUR, work)?);
        Ok(Self(context.clone()))
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut runs = self.0.topic("runs")?.subscribe()?;
        runs.next().await;
        Ok(Response::text(format!("after {} runs", self.0.cells()?.len())))
    }
}

#[test]
fn periodic_work_goes_by_the_clock() {
    let kit = Host::<Busy>::new().start().unwrap();
    assert_eq!(kit.get("/").send().text(), "after 1 runs");
    assert_eq!(kit.now(), HOUR);
    kit.advance(HOUR * 9 + HOUR / 2);
    assert_eq!(kit.cells()["runs"].len(), 10);
    assert_eq!(kit.published().len(), 10);
    kit.drain();
    kit.advance(HOUR * 5);
    assert_eq!(kit.cells()["runs"].len(), 10, "it ends at the drain");
}
