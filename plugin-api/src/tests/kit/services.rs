//! The services of ABI 1.4 over the table, as a plugin of any SDK calls them.
#![expect(unsafe_code, reason = "calls the host's table of services")]

use std::{
    mem::MaybeUninit,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Context, Error, Handler, Request, Response, Result,
    abi::{
        HostVt, Str,
        cell::{self, CellValue},
        poll, spawn,
        topic::{self, Subscription},
    },
    guard,
    owned::OwnedBytes,
    task,
    testing::{Host, Running},
    waker,
};

/// The table of the calling plugin's host.
fn host() -> (*const (), *const HostVt) {
    guard::host().expect("called within a plugin")
}

macro_rules! call {
    ($entry:ident $(, $arg:expr)*) => {{
        let (data, vt) = host();
        // SAFETY: a table of this build.
        let entry = unsafe { (*vt).$entry }.expect("the kit has all of them");
        // SAFETY: the texts live for the call.
        unsafe { entry(data $(, $arg)*) }
    }};
}

fn text(text: &str) -> Str {
    Str::new(text.as_bytes())
}

fn ask(operation: u32, key: &str, expected: u64, value: &str) -> String {
    let mut out = MaybeUninit::<CellValue>::uninit();
    let code = call!(cell, operation, text(key), expected, text(value), out.as_mut_ptr());
    // SAFETY: filled, whatever the answer is.
    let CellValue { version, bytes } = unsafe { out.assume_init() };
    // SAFETY: the receiver's.
    format!("{code} {version} {}", unsafe { OwnedBytes::from_abi(bytes) }.to_text())
}

struct Plugin {
    drops: Arc<AtomicUsize>,
}

struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        let drops = Arc::<AtomicUsize>::default();
        begin(context, &drops);
        Ok(Self { drops })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/cells" => Ok(Response::text(
                [
                    ask(cell::GET, "preset", 0, ""),
                    ask(cell::SET_IF, "preset", 1, "two"),
                    ask(cell::SET_IF, "preset", 1, "three"),
                    ask(cell::SET, "b", 0, "x"),
                    ask(cell::LIST, "", 0, "").replace('\n', ","),
                    ask(cell::REMOVE_IF, "b", 9, ""),
                    ask(cell::REMOVE, "b", 0, ""),
                    ask(cell::GET, "b", 0, ""),
                    ask(cell::SET, "long", 0, &"x".repeat((1 << 20) + 1)),
                    ask(cell::GET, "", 0, ""),
                    ask(77, "a", 0, ""),
                ]
                .join("\n"),
            )),
            "/hear" => {
                let mut reader = subscribe("news").map_err(|code| Error::new(code.to_string()))?;
                let context = request.context().clone();
                Ok(Response::streaming(move |mut out| async move {
                    while let Some(Some(message)) = context.until_drain(reader.next()).await {
                        out.send(message).await;
                    }
                    Ok(())
                }))
            }
            "/tell" => {
                let count = call!(publish, text("news"), text("from the plugin"));
                Ok(Response::text(count.to_string()))
            }
            "/spawn" => {
                begin(request.context(), &self.drops);
                Ok(Response::empty())
            }
            "/fail" => {
                let task = task::export(async { Err::<(), _>(Error::new("lost")) });
                assert_eq!(call!(spawn, task, spawn::HERE), spawn::ACCEPTED);
                Ok(Response::empty())
            }
            other => Ok(Response::text(other.to_owned()).with_status(404)),
        }
    }
}

/// A task that counts hours.
fn begin(context: &Context, drops: &Arc<AtomicUsize>) {
    let (context, counts) = (context.clone(), Counts(drops.clone()));
    let task = task::export(async move {
        let _counts = counts;
        while context.generation() < 100 {
            context.sleep(Duration::from_secs(3600)).await;
            context.counter("hours", 1.0, &[]);
        }
        Ok(())
    });
    assert_eq!(call!(spawn, task, 0), spawn::ACCEPTED);
}

struct Reader(Subscription);

fn subscribe(name: &str) -> std::result::Result<Reader, u32> {
    let mut out = MaybeUninit::uninit();
    match call!(subscribe, text(name), 2, out.as_mut_ptr()) {
        // SAFETY: filled when it is done.
        topic::DONE => Ok(Reader(unsafe { out.assume_init() })),
        code => Err(code),
    }
}

impl Reader {
    async fn next(&mut self) -> Option<String> {
        std::future::poll_fn(|cx| {
            let Subscription { data, vt } = self.0;
            let mut out = MaybeUninit::<topic::Message>::uninit();
            let code = waker::with_abi(cx.waker(), |waker| {
                // SAFETY: alive, with room for a message.
                unsafe { ((*vt).poll_next)(data, waker, out.as_mut_ptr()) }
            });
            match code {
                poll::PENDING => std::task::Poll::Pending,
                poll::READY => {
                    // SAFETY: filled on READY, and the receiver's.
                    let topic::Message { missed, bytes } = unsafe { out.assume_init() };
                    // SAFETY: as above.
                    let text = unsafe { OwnedBytes::from_abi(bytes) }.to_text();
                    std::task::Poll::Ready(Some(format!("{missed} {text}")))
                }
                _ => std::task::Poll::Ready(None),
            }
        })
        .await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: called once.
        unsafe { ((*self.0.vt).drop)(self.0.data) }
    }
}

fn kit() -> Running {
    Host::<Plugin>::new().cell("preset", "one").start().unwrap()
}

#[test]
fn cells_are_kept() {
    let kit = kit();
    let text = kit.get("/cells").send().text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "0 1 one",
            "0 2 ",
            "1 2 two",
            "0 3 ",
            "0 0 b,preset,",
            "1 3 x",
            "0 0 ",
            "0 0 ",
            "4 0 a value of 1048577 bytes: 1048576 are allowed (`cell_bytes`)",
            "5 0 `` is no key: 1 to 128 bytes without control characters",
            "3 0 this host does not know the operation 77",
        ]
    );
    assert_eq!(kit.cells()["preset"], b"two");
    kit.set_cell("preset", "other");
    assert_eq!(kit.cells()["preset"], b"other");
}

#[test]
fn topics_are_heard() {
    let kit = kit();
    assert_eq!(kit.get("/tell").send().text(), "0");
    let mut reply = kit.get("/hear").send();
    assert!(reply.try_piece().is_pending());
    assert_eq!(kit.publish("news", "from the test"), 1);
    assert_eq!(reply.piece().unwrap().as_deref(), Some(&b"0 from the test"[..]));
    for word in ["a", "b", "c"] {
        kit.publish("news", word);
    }
    assert_eq!(reply.piece().unwrap().as_deref(), Some(&b"1 b"[..]), "two may wait");
    assert_eq!(kit.get("/tell").send().text(), "1");
    let published = kit.published();
    assert_eq!(published.len(), 2);
    assert_eq!((published[0].0.as_str(), &published[0].1[..]), ("news", &b"from the plugin"[..]));
}

#[test]
fn tasks_run_beside_requests_and_end_before_the_version() {
    let mut kit = kit();
    assert_eq!(kit.metric("hours"), None);
    kit.advance(Duration::from_secs(3 * 3600));
    assert_eq!(kit.metric("hours"), Some(3.0));
    assert_eq!(kit.get("/spawn").send().status(), 200);
    kit.advance(Duration::from_secs(3600));
    assert_eq!(kit.metric("hours"), Some(5.0));
    assert_eq!(kit.get("/fail").send().status(), 200);
    kit.settle();
    assert_eq!(kit.logs()[0].to_string(), "ERROR hotseat: a task has failed error=lost");
    kit.stop();
    kit.stop();
}

#[test]
fn in_a_preflight_no_task_begins() {
    let drops = Arc::<AtomicUsize>::default();
    let counted = drops.clone();
    let make = move |context: &Context| {
        assert!(context.is_preflight() && context.generation() == 0);
        begin(context, &counted);
        Ok::<_, Error>(Plugin { drops: counted })
    };
    let kit = Host::made(make).preflight(true).start().unwrap();
    kit.self_test().unwrap();
    kit.advance(Duration::from_secs(3 * 3600));
    assert_eq!(kit.metric("hours"), None);
    drop(kit);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}
