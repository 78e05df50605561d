//! Works beside its requests, and writes down what becomes of it: tasks, periodic work, topics.
//!
//! With `mode = 'hears'` it asks for a topic before anything else, with `mode = 'fails'` it is not made.
//!
//! Its configuration is `file`, to which each line `PROCESS GENERATION NAME WHAT THREAD` is appended: tasks that
//! begin, that are dropped, that are refused, and the moments of the handler.
//!
//! - `new` spawns the tasks `new` and `chain`, starts a thread that spawns `thread`, and periodic work
//!   each 10 ms, `every`.
//! - `chain` spawns another task, `link`, and both spawn one when they are dropped, as `stop` and the
//!   handler's drop do: those must be refused.
//! - `/spawn?NAME` spawns a task that never ends, `/panics` one that panics, `/fails` one with an error,
//!   `/many?COUNT` as many as are taken, `/aborts` one that is aborted.
//! - `/every?WHAT` begins periodic work of its own: WHAT is `fails` or `panics`, as each run does, or
//!   `gate=SOCKET`, where each run, `gated`, is held.
//! - `/publish?TEXT`, `/next`, `/lag`, `/subscribe?COUNT`, `/leak`: the topic `room`.
//! - `/gate?gate=SOCKET` is held as the plugin `gate` does.
//! - `/stands?FILE` spawns a task that holds up its thread until the file is gone, `/falls?FILE` one that
//!   does so when it is dropped.

use std::{
    fs::OpenOptions,
    future::{pending, poll_fn},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    thread::{self, JoinHandle},
    time::Duration,
};

use hotseat_plugin_api::{
    Context, Error, Handler, Request, Response, Result, Subscription, Task, TaskError,
    export_handler,
};

/// Writes lines.
#[derive(Clone)]
struct Book {
    context: Context,
    file: Option<PathBuf>,
}

impl Book {
    fn note(&self, name: &str, what: &str) {
        let Some(path) = &self.file else { return };
        let line = format!(
            "{} {} {name} {what} {}\n",
            std::process::id(),
            self.context.generation(),
            thread_name(),
        );
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("the test can write there");
    }

    fn tries(&self, name: &str) {
        let what = match self.context.spawn(noted(self.clone(), "late".to_owned())) {
            Ok(_) => "taken".to_owned(),
            Err(error) => format!("refused:{error:?}"),
        };
        self.note(name, &what);
    }
}

/// Notes its end, and tries to go on.
struct Noted {
    book: Book,
    name: String,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.book.note(&self.name, "dropped");
        if matches!(&*self.name, "chain" | "link") {
            self.book.tries(&format!("after-{}", self.name));
        }
    }
}

async fn noted(book: Book, name: String) {
    let noted = Noted { book, name };
    // Noted by its first poll, not by being made.
    noted.book.note(&noted.name, "begun");
    if noted.name == "chain" {
        drop(noted.book.context.spawn(link(noted.book.clone())));
    }
    pending::<()>().await;
}

/// Its type has a name, because `noted` spawns one.
fn link(book: Book) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(noted(book, "link".to_owned()))
}

struct Beside {
    book: Book,
    thread: Mutex<Option<JoinHandle<()>>>,
    aborted: Mutex<Vec<Task>>,
}

/// As the host calls it: the thread is none of this library's.
fn thread_name() -> String {
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    name.trim().to_owned()
}

/// Stands still when it is dropped.
struct Bomb(String);

impl Drop for Bomb {
    fn drop(&mut self) {
        stand_still(&self.0);
    }
}

/// Ends when the file is gone.
fn stand_still(path: &str) {
    while std::fs::exists(path).unwrap_or(false) {
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn asked_to() -> bool {
    true
}

async fn wait(context: &Context, socket: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_nonblocking(true)?;
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Error::new("the gate is gone")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                context.sleep(Duration::from_millis(2)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Beside {
    fn spawn(&self, name: &str) -> Result<Task> {
        Ok(self.book.context.spawn(noted(self.book.clone(), name.to_owned()))?)
    }

    /// As many as are taken, and why the next one is not.
    fn many(&self, count: usize) -> String {
        for taken in 0..count {
            if let Err(error) = self.book.context.spawn(pending::<()>()) {
                return format!("{taken} {error:?}");
            }
        }
        format!("{count} all")
    }

    fn subscribe(&self) -> Result<Subscription> {
        Ok(self.book.context.topic("room")?.subscribe_with(4)?)
    }

    fn publish(&self, text: &str) -> Result<usize> {
        Ok(self.book.context.topic("room")?.publish(text)?)
    }

    /// Readers that note the first thing that they hear, each a task.
    fn readers(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            let (mut subscription, book) = (self.subscribe()?, self.book.clone());
            drop(self.book.context.spawn(async move {
                while let Some(message) = subscription.next().await {
                    book.note("reader", message.text().unwrap_or("no-text"));
                }
            })?);
        }
        Ok(())
    }

    /// Publishes ten messages to one who reads none of them meanwhile.
    async fn lag(&self) -> Result<String> {
        let mut subscription = self.subscribe()?;
        for number in 0..10 {
            self.publish(&number.to_string())?;
        }
        let mut seen = String::new();
        for _ in 0..4 {
            let message = subscription.next().await.ok_or("the topic has ended")?;
            seen += &format!("{}:{} ", message.missed(), message.text()?);
        }
        Ok(seen)
    }

    async fn next(&self, socket: &str) -> Result<String> {
        let mut subscription = self.subscribe()?;
        // Says that it is subscribed.
        let _gate = UnixStream::connect(socket)?;
        let message = subscription.next().await.ok_or("the topic has ended")?;
        Ok(format!("{} heard {}", self.book.context.generation(), message.text()?))
    }

    /// What nobody should do: a subscription that was polled is never dropped.
    async fn leak(&self) -> Result<()> {
        let mut subscription = self.subscribe()?;
        // With a waker of this library's.
        poll_fn(|_| {
            let waker = Arc::new(Unwoken).into();
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(subscription.poll_next(&mut cx).is_pending(), "nobody has published");
            Poll::Ready(())
        })
        .await;
        let _leaked = std::mem::ManuallyDrop::new(subscription);
        Ok(())
    }

    /// Periodic work whose runs are noted before they do `what`.
    fn every(&self, what: &str) -> Result<()> {
        let (book, what) = (self.book.clone(), what.to_owned());
        drop(self.book.context.every(Duration::from_millis(10), move || {
            let (book, what) = (book.clone(), what.clone());
            async move {
                if let Some(socket) = what.strip_prefix("gate=") {
                    book.note("gated", "ran");
                    return wait(&book.context, socket).await;
                }
                book.note(&what, "ran");
                assert!(what != "panics", "as was asked for");
                Err(Error::new("as was asked for"))
            }
        })?);
        Ok(())
    }

    async fn ends(&self, path: &str) -> Result<String> {
        let context = &self.book.context;
        let ended = match path {
            "/panics" => context.spawn(async { assert!(!asked_to(), "as was asked for") })?.await,
            "/fails" => context.spawn(async { Err::<(), _>("as was asked for") })?.await,
            "/ends" => context.spawn(async {})?.await,
            _ => {
                let task = self.spawn("aborted")?;
                task.abort();
                task.await
            }
        };
        Ok(format!("{ended:?}"))
    }
}

struct Unwoken;

impl std::task::Wake for Unwoken {
    fn wake(self: Arc<Self>) {}
}

impl Handler for Beside {
    fn new(context: &Context) -> Result<Self> {
        if context.config().is_some_and(|it| it.contains("hears")) {
            context.topic("room")?;
        }
        // `{"file":"/x"}`: every second text is a name, and none of them holds a quote.
        let mut texts = context.config().unwrap_or_default().split('"').skip(3);
        let file = texts.next().map(PathBuf::from);
        let book = Book { context: context.clone(), file };
        for name in ["new", "chain"] {
            drop(context.spawn(noted(book.clone(), name.to_owned()))?);
        }
        let ticks = book.clone();
        drop(context.every(Duration::from_millis(10), move || {
            let ticks = ticks.clone();
            async move { ticks.note("every", "ran") }
        })?);
        let own = book.clone();
        let spawns = move || {
            if let Ok(task) = own.context.spawn(noted(own.clone(), "thread".to_owned())) {
                drop(task);
            }
        };
        let thread = thread::Builder::new().name("own".to_owned()).spawn(spawns)?;
        if context.config().is_some_and(|it| it.contains("fails")) && !context.is_preflight() {
            thread.join().map_err(|_| "the thread panicked")?;
            return Err("as was asked for".into());
        }
        Ok(Self { book, thread: Mutex::new(Some(thread)), aborted: Mutex::default() })
    }

    async fn self_test(&self) -> Result<()> {
        match self.spawn("self-test")?.await {
            Err(TaskError::Aborted) => Ok(()),
            other => Err(Error::new(format_args!("a task ran in a preflight: {other:?}"))),
        }
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let (path, query) = (request.path(), request.query().unwrap_or_default());
        let number = || query.parse::<usize>().map_err(Error::from);
        Ok(Response::text(match path {
            "/spawn" => {
                let task = self.spawn(query)?;
                self.aborted.lock().unwrap_or_else(PoisonError::into_inner).push(task);
                "spawned".to_owned()
            }
            "/many" => self.many(number()?),
            "/panics" | "/fails" | "/ends" | "/aborts" => self.ends(path).await?,
            "/publish" => self.publish(query)?.to_string(),
            "/subscribe" => {
                self.readers(number()?)?;
                "subscribed".to_owned()
            }
            "/lag" => self.lag().await?,
            "/next" => self.next(query.strip_prefix("gate=").unwrap_or_default()).await?,
            "/leak" => {
                self.leak().await?;
                "leaked".to_owned()
            }
            "/every" => {
                self.every(query)?;
                "begun".to_owned()
            }
            "/long" => format!("{:?}", self.book.context.topic("room")?.publish("x".repeat(4096))),
            "/stands" => {
                let path = query.to_owned();
                drop(self.book.context.spawn(async move { stand_still(&path) })?);
                "spawned".to_owned()
            }
            "/falls" => {
                let bomb = Bomb(query.to_owned());
                drop(self.book.context.spawn(async move {
                    let _bomb = bomb;
                    pending::<()>().await;
                })?);
                "spawned".to_owned()
            }
            "/gate" => {
                wait(&self.book.context, query.strip_prefix("gate=").unwrap_or_default()).await?;
                "let go".to_owned()
            }
            _ => format!("generation {}", self.book.context.generation()),
        }))
    }

    fn stop(&self) {
        self.book.note("handler", "stop");
        self.book.tries("in-stop");
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().expect("it does not panic");
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.book.note("handler", "drop");
        self.book.tries("in-drop");
    }
}

export_handler!(Beside);
