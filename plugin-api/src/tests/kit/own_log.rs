//! What a test listens with itself.

use std::{
    env,
    process::Command,
    sync::{Mutex, PoisonError},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{Context, Handler, Request, Response, Result, testing::Host};

/// What was heard by the test's own.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn hear(text: String) {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

struct Own;

impl Visit for Own {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        hear(format!("{}={value:?}", field.name()));
    }
}

impl Subscriber for Own {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Own);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl log::Log for Own {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        hear(format!("record={}", record.args()));
    }

    fn flush(&self) {}
}

struct Says;

impl Handler for Says {
    fn new(_: &Context) -> Result<Self> {
        tracing::info!("made");
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        tracing::info!("an event");
        log::info!("a record");
        request.context().info("by the context", &[]);
        Ok(Response::empty())
    }
}

/// What the plugin says for each of two listeners: the kit's log, and the test's own.
fn said() -> (Vec<String>, Vec<String>) {
    let kit = Host::<Says>::new().start().unwrap();
    assert_eq!(kit.get("/").send().status(), 200);
    let logs = kit.logs().into_iter().map(|line| line.message).collect();
    (logs, HEARD.lock().unwrap().clone())
}

/// Runs as a child too: a subscriber and a logger are set once in a process.
#[test]
fn what_a_test_sets_takes_the_place_of_the_hosts() {
    const CHILD: &str = "HOTSEAT_TEST_KIT_OWN_LOG";
    if env::var_os(CHILD).is_some() {
        tracing::subscriber::set_global_default(Own).unwrap();
        log::set_logger(&Own).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        let (logs, heard) = said();
        // What is said while it is made is the host's in any case.
        assert_eq!(logs, ["made", "by the context"]);
        assert_eq!(heard, ["message=an event", "record=a record"]);
        return;
    }
    let name = "tests::kit::own_log::what_a_test_sets_takes_the_place_of_the_hosts";
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    // Where the test sets none, the host hears it all.
    let (logs, heard) = said();
    assert_eq!(logs, ["made", "an event", "a record", "by the context"]);
    assert_eq!(heard, Vec::<String>::new());
}
