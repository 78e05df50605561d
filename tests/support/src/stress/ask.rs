//! One request and its answer: what is asked by chance, and what the answer has to be.
//!
//! Owns the kinds of requests that are whole by themselves. A conversation of several is in
//! [`super::talk`].

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::{Rng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::{
    QUICK_TIME,
    body::{Plan, Upload, made},
    link::{NoAnswer, Sender},
    truth::{End, List, Mark, Truth, expect_status},
};

/// Cells that everybody counts in.
pub(super) const COUNTERS: usize = 3;

/// What an answer has to be.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    /// This text.
    Text(String),
    /// These bytes.
    Bytes(Bytes),
    /// Another number than anybody else was told, higher than those of before.
    Count(String),
    /// A task has counted, and was waited for.
    Done(String),
    /// A task will count, unless its version ends before.
    Spawned(String),
    /// A list that has all that was acknowledged.
    Appended(Arc<Mutex<List>>, u64),
    /// All counters that somebody has counted in.
    Keys,
    /// Some of the time of the mount `/quick`.
    Left,
    /// The host's word that it took too long.
    Late,
    /// Whoever asks judges it.
    Anything,
}

/// A request to be.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) kind: &'static str,
    pub(super) plugin: &'static str,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) body: Plan,
    pub(super) expect: Expect,
    /// The answer is read slowly.
    pub(super) slow: bool,
    pub(super) nonce: String,
}

/// Length and digest, as the plugin says them.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut text = format!("{} ", bytes.len());
    for byte in Sha256::digest(bytes) {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Ask {
    /// By chance.
    pub(super) fn random(random: &mut StdRng, nonce: u64, list: &Arc<Mutex<List>>) -> Self {
        let nonce = nonce.to_string();
        match random.random_range(0..100) {
            0..24 => Self::digest(random, nonce),
            24..30 => Self::half(random, nonce),
            30..42 => Self::echo(random, nonce),
            42..54 => Self::stream(random, nonce),
            54..58 => Self::sum(random, nonce),
            58..74 => Self::count(random, nonce),
            74..84 => Self::task(random, nonce),
            84..87 => Self::append(nonce, list),
            87 => Self::get("cell keys", nonce, "/keys".to_owned(), Expect::Keys),
            88..94 => Self::blocking(random, nonce),
            94..96 => Self::get("left", nonce, "/quick/left".to_owned(), Expect::Left),
            _ => Self::late(random, nonce),
        }
    }

    fn get(kind: &'static str, nonce: String, target: String, expect: Expect) -> Self {
        let (method, body) = (Method::GET, Plan::empty());
        Self { kind, plugin: "stress", method, target, body, expect, slow: false, nonce }
    }

    fn post(kind: &'static str, nonce: String, target: String, body: Plan, expect: Expect) -> Self {
        let method = Method::POST;
        Self { kind, plugin: "stress", method, target, body, expect, slow: false, nonce }
    }

    fn digest(random: &mut StdRng, nonce: String) -> Self {
        let kinds = [
            ("digest handler", "/digest/handler"),
            ("digest task", "/digest/task"),
            ("digest thread", "/digest/thread"),
            ("digest pool", "/digest/pool"),
        ];
        let (kind, target) = kinds[random.random_range(0..kinds.len())];
        let body = Plan::random(random);
        let expect = Expect::Text(digest(&body.bytes()));
        Self::post(kind, nonce, target.to_owned(), body, expect)
    }

    fn half(random: &mut StdRng, nonce: String) -> Self {
        let body = Plan::random(random);
        let most = body.length / 2;
        let expect = Expect::Text(digest(&body.bytes()[..most]));
        Self::post("digest half", nonce, format!("/digest/half?most={most}"), body, expect)
    }

    fn echo(random: &mut StdRng, nonce: String) -> Self {
        let (kind, target) = match random.random() {
            true => ("echo", "/echo"),
            false => ("echo task", "/echo/task"),
        };
        let body = Plan::random(random);
        let expect = Expect::Bytes(body.bytes());
        let ask = Self::post(kind, nonce, target.to_owned(), body, expect);
        Self { slow: random.random_ratio(1, 4), ..ask }
    }

    fn stream(random: &mut StdRng, nonce: String) -> Self {
        let (kind, path) = match random.random() {
            true => ("stream", "/stream"),
            false => ("stream task", "/stream/task"),
        };
        let (seed, length) = (random.random(), random.random_range(0..700_000));
        let target = format!("{path}?seed={seed}&bytes={length}");
        let ask = Self::get(kind, nonce, target, Expect::Bytes(made(seed, length)));
        Self { slow: random.random_ratio(1, 4), ..ask }
    }

    fn sum(random: &mut StdRng, nonce: String) -> Self {
        let to = random.random_range(0..20_000_u64);
        let expect = Expect::Text((to * (to + 1) / 2).to_string());
        Self::get("blocking", nonce, format!("/sum?to={to}"), expect)
    }

    fn count(random: &mut StdRng, nonce: String) -> Self {
        let key = format!("count-{}", random.random_range(0..COUNTERS));
        let kinds = [
            ("cell update", "update"),
            ("cell set_if", "set_if"),
            ("cell json", "json"),
            ("cell pool", "pool"),
        ];
        let (kind, by) = kinds[random.random_range(0..kinds.len())];
        let target = format!("/count/{key}?by={by}");
        Self::post(kind, nonce, target, Plan::empty(), Expect::Count(key))
    }

    fn task(random: &mut StdRng, nonce: String) -> Self {
        let key = format!("task-{}", random.random_range(0..COUNTERS));
        let (ms, host): (u64, bool) = (random.random_range(0..40), random.random());
        let waits = random.random();
        let target = format!("/task/{key}?ms={ms}&host={host}&waits={waits}");
        let (kind, expect) = match waits {
            true => ("task awaited", Expect::Done(key)),
            false => ("task left", Expect::Spawned(key)),
        };
        Self::post(kind, nonce, target, Plan::empty(), expect)
    }

    fn append(nonce: String, list: &Arc<Mutex<List>>) -> Self {
        let entry = nonce.parse().unwrap_or_default();
        // One list a client, whose number is in the upper part of the nonce.
        let target = format!("/list/list-{}?entry={entry}", entry >> 32);
        let expect = Expect::Appended(list.clone(), entry);
        Self::post("cell list", nonce, target, Plan::empty(), expect)
    }

    /// The list's removal, behind which it begins anew.
    pub(super) fn remove_list(nonce: u64) -> Self {
        let (target, nonce) = (format!("/list/list-{}", nonce >> 32), nonce.to_string());
        let ask = Self::get("cell remove", nonce, target, Expect::Text(String::new()));
        Self { method: Method::DELETE, ..ask }
    }

    fn blocking(random: &mut StdRng, nonce: String) -> Self {
        let body = Plan::random(random);
        let expect = Expect::Text(digest(&body.bytes()));
        let ask = Self::post("BlockingHandler", nonce, "/worker/digest".to_owned(), body, expect);
        Self { plugin: "worker", ..ask }
    }

    fn late(random: &mut StdRng, nonce: String) -> Self {
        let body = Plan::random(random);
        Self::post("deadline", nonce, "/quick/forever".to_owned(), body, Expect::Late)
    }

    /// Part of a conversation: whoever sends it judges the answer.
    pub(super) fn part(method: Method, target: String, nonce: String) -> Self {
        let ask = Self::get("part", nonce, target, Expect::Anything);
        Self { method, ..ask }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Request<Upload> {
        self.request(None, &Arc::default())
    }

    fn request(&self, halt: Option<usize>, progress: &Arc<Notify>) -> Request<Upload> {
        let mut request = Request::new(self.body.upload(halt, progress.clone()));
        *request.method_mut() = self.method.clone();
        let uri = format!("http://localhost{}", self.target);
        *request.uri_mut() = uri.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert("host", http::HeaderValue::from_static("localhost"));
        if let Ok(nonce) = self.nonce.parse() {
            headers.insert("x-nonce", nonce);
        }
        request
    }
}

/// Where a client breaks off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    /// Behind so many bytes of its body.
    Sent(usize),
    /// Behind so many bytes of the answer's.
    Received(usize),
    /// After a time.
    After(Duration),
}

impl Point {
    /// By chance.
    pub(super) fn random(random: &mut StdRng, ask: &Ask) -> Self {
        match random.random_range(0..3) {
            0 if ask.body.length > 0 => Self::Sent(random.random_range(0..ask.body.length)),
            1 => Self::Received(random.random_range(0..200_000)),
            _ => Self::After(Duration::from_micros(random.random_range(0..15_000))),
        }
    }

    fn sent(self) -> Option<usize> {
        if let Self::Sent(bytes) = self { Some(bytes) } else { None }
    }

    fn received(self) -> Option<usize> {
        if let Self::Received(bytes) = self { Some(bytes) } else { None }
    }
}

/// Reads all of it. Behind `halt` bytes it says so, and waits for ever.
async fn read(
    mut body: Incoming,
    slow: bool,
    halt: Option<usize>,
    progress: &Notify,
) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("behind {} bytes: {error:?}", all.len()))?;
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if halt.is_some_and(|halt| all.len() >= halt) {
            progress.notify_one();
            std::future::pending::<()>().await;
        }
        if slow {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(all)
}

/// What a request knew before it was sent.
enum Before {
    Nothing,
    Count(u64),
    List(BTreeSet<u64>),
    Keys(Vec<String>),
}

impl Expect {
    fn begin(&self, truth: &Truth) -> Before {
        match self {
            Self::Count(key) | Self::Done(key) | Self::Spawned(key) => {
                Before::Count(truth.tries(key))
            }
            Self::Appended(list, entry) => {
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                Before::List(list.tries(*entry))
            }
            Self::Keys => Before::Keys(truth.keys()),
            _ => Before::Nothing,
        }
    }

    fn judge(&self, truth: &Truth, before: &Before, body: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(body);
        let number = || text.parse::<u64>().map_err(|_| format!("no number, but `{text}`"));
        match (self, before) {
            (Self::Text(must), _) if text != *must => Err(format!("`{text}`, not `{must}`")),
            (Self::Bytes(must), _) if body != must => Err(differs(body, must)),
            (Self::Count(key), Before::Count(before)) => truth.counted(key, *before, number()?),
            (Self::Done(key), _) => {
                truth.counted_blindly(key);
                if text == "done" { Ok(()) } else { Err(format!("`{text}`, not `done`")) }
            }
            (Self::Spawned(_), _) if text != "spawned" => Err(format!("`{text}`, not `spawned`")),
            (Self::Appended(list, entry), Before::List(before)) => {
                let all: Vec<u64> = serde_json::from_slice(body).map_err(|it| it.to_string())?;
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                list.appended(*entry, before, &all).map(drop)
            }
            (Self::Keys, Before::Keys(must)) => {
                let there: BTreeSet<&str> = text.lines().collect();
                let lost = must.iter().find(|key| !there.contains(key.as_str()));
                lost.map_or(Ok(()), |key| Err(format!("`{key}` is not in {there:?}")))
            }
            (Self::Left, _) if u128::from(number()?) > QUICK_TIME.as_millis() => {
                Err(format!("{text} ms are left of {QUICK_TIME:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn differs(body: &[u8], must: &[u8]) -> String {
    let at = body.iter().zip(must).position(|(one, other)| one != other);
    format!("{} bytes, not {}; the first other one: {at:?}", body.len(), must.len())
}

fn is_late(status: StatusCode, headers: &HeaderMap) -> bool {
    let code = headers.get("hotseat-error").and_then(|it| it.to_str().ok());
    status == StatusCode::GATEWAY_TIMEOUT && code == Some("plugin_timeout")
}

/// Asks, and judges the answer. `point`: where it stops and says so, for whoever breaks it off.
pub(super) async fn ask(
    truth: &Truth,
    sender: &mut Sender,
    ask: &Ask,
    point: Option<Point>,
    progress: &Arc<Notify>,
) -> Result<End, String> {
    let (before, floor) = (ask.expect.begin(truth), truth.floor());
    let request = ask.request(point.and_then(Point::sent), progress);
    let answer = match sender.send(request).await {
        Ok(answer) => answer,
        Err(NoAnswer::Unsent) => return Ok(End::Unsent),
        Err(NoAnswer::Failed(text)) => return Err(text),
    };
    let (head, body) = answer.into_parts();
    if is_late(head.status, &head.headers) && matches!(ask.expect, Expect::Late | Expect::Left) {
        read(body, false, None, progress).await?;
        return Ok(End::Good);
    }
    if head.status != StatusCode::OK || matches!(ask.expect, Expect::Late) {
        let text = read(body, false, None, progress).await?;
        expect_status(head.status, &text)?;
        return Err("an answer to what takes for ever".to_owned());
    }
    let mark = Mark::of(ask.plugin, &head.headers, &ask.nonce)?;
    truth.meets(&floor, &mark)?;
    let body = read(body, ask.slow, point.and_then(Point::received), progress).await?;
    let judged = ask.expect.judge(truth, &before, &body);
    judged.map(|()| End::Good).map_err(|text| format!("{text}, from {mark:?}"))
}
