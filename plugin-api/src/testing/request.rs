//! A request that is made ready, and one that is under way.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{cell::Cell, fmt, net::SocketAddr, rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version};

use super::{
    Running,
    clock::Timer,
    driver::{Job, Runs},
    fields::List,
    head::{Client, Head, Said},
    reply::Reply,
    upload::{Source, Upload},
};
use crate::abi::{Answer, Growing};

/// A request to a plugin under test; from [`Running::get`] and its like.
#[must_use = "nothing happens before `send` or `begin`"]
pub struct RequestBuilder<'k> {
    kit: &'k Running,
    method: Method,
    target: String,
    fields: List,
    body: Option<Source>,
    version: Version,
    scheme: Option<String>,
    peer: Option<SocketAddr>,
    mount: String,
    deadline: Option<Duration>,
}

impl<'k> RequestBuilder<'k> {
    #[track_caller]
    pub(super) fn new(kit: &'k Running, method: Method, target: &str) -> Self {
        assert!(
            target.starts_with('/') || target == "*",
            "`{target}` is no path: it begins with `/`"
        );
        Self {
            kit,
            method,
            target: target.to_owned(),
            fields: List::default(),
            body: None,
            version: Version::HTTP_11,
            scheme: None,
            peer: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
            mount: String::new(),
            deadline: None,
        }
    }

    /// One more header field. Without a `host` among them it is `localhost`.
    ///
    /// # Panics
    /// When it is none that a client could send: the host would refuse it.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "`{name}` is no name of a field");
        assert!(
            HeaderValue::from_bytes(value).is_ok(),
            "`{name}`: {value:?} is no value of a field"
        );
        self.fields.add(name, value);
        self
    }

    /// The body, whole, with its `content-length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.fields.add("content-length", body.len().to_string().as_bytes());
        self.body = Some(Source::whole(body));
        self
    }

    /// The body as JSON, with its `content-type`.
    ///
    /// # Panics
    /// When `value` has no JSON.
    #[track_caller]
    pub fn json(self, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a value that has JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// The body in these pieces, one after the other, without a length.
    pub fn pieces<P: Into<Bytes>>(mut self, pieces: impl IntoIterator<Item = P>) -> Self {
        let upload = Upload::new();
        pieces.into_iter().for_each(|piece| upload.send(piece));
        upload.end();
        self.body = Some(upload.source());
        self
    }

    /// The body piece by piece, when the test says so. Keep `upload` until the test has ended it: with
    /// its last clone the client breaks off.
    pub fn upload(mut self, upload: &Upload) -> Self {
        self.body = Some(upload.source());
        self
    }

    /// The client's address, instead of `127.0.0.1:4711`.
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// From a client without an address, over a Unix socket.
    pub fn over_unix(mut self) -> Self {
        self.peer = None;
        self
    }

    /// As if the plugin were mounted at `prefix`: it is taken away from the path.
    pub fn mount(mut self, prefix: &str) -> Self {
        prefix.trim_end_matches('/').clone_into(&mut self.mount);
        self
    }

    /// The version of HTTP, instead of 1.1.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// `http` or `https`, in a target that says so, with the authority that `host` has: as in HTTP/2, and
    /// before a proxy.
    pub fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = Some(scheme.to_owned());
        self
    }

    /// What the answer's head may take, by the kit's clock. When it has passed the call is dropped,
    /// and the answer is a 504 as the host gives it.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Sends it and waits for the answer's head.
    ///
    /// # Panics
    /// When there is none within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn send(self) -> Reply<'k> {
        self.begin().answer()
    }

    /// Sends it. It goes on whenever the kit waits for something.
    ///
    /// # Panics
    /// When the kit was stopped.
    #[track_caller]
    pub fn begin(self) -> Call<'k> {
        let kit = self.kit;
        let what = format!("{} {}", self.method, self.target);
        let head = Head::new(kit.world(), self.said());
        let Some(instance) = kit.instance() else { panic!("{what}: the kit was stopped") };
        let inside = kit.world().enter();
        // SAFETY: the instance lives as long as the kit, and the head longer than the future.
        let future = unsafe { (kit.call_fn())(instance, Growing { ptr: head.raw() }) };
        drop(inside);
        let job = Job::new(kit.world(), future);
        let under_way = Rc::new(UnderWay { job, head, is_late: Cell::new(false) });
        kit.driver().add(under_way.clone());
        Call { kit, what, under_way }
    }

    #[track_caller]
    fn said(self) -> Said {
        let world = self.kit.world();
        let (original_path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (self.target, None),
        };
        let rest = original_path.strip_prefix(&self.mount);
        let path = match rest {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') || self.mount.is_empty() => rest.to_owned(),
            _ => panic!("`{original_path}` is not below the mount `{}`", self.mount),
        };
        let mut fields = self.fields;
        if fields.get("host").is_none() {
            fields.add("host", b"localhost");
        }
        let authority = fields.get("host").map(|it| String::from_utf8_lossy(it).into_owned());
        let name = |it: &String| {
            let port = it.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
            port.map_or(it.as_str(), |(name, _)| name).to_owned()
        };
        Said {
            version: match self.version {
                Version::HTTP_10 => 10,
                Version::HTTP_2 => 20,
                _ => 11,
            },
            id: world.requests.fetch_add(1, Ordering::Relaxed) + 1,
            method: self.method.to_string(),
            path,
            query,
            original_path,
            host: authority.as_ref().map(name),
            authority,
            is_absolute: self.scheme.is_some() || self.version == Version::HTTP_2,
            scheme: self.scheme.unwrap_or_else(|| "http".to_owned()),
            peer: self.peer,
            fields,
            body: self.body,
            deadline: self.deadline.map(|limit| Timer::new(world, limit)),
        }
    }
}

impl fmt::Debug for RequestBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("RequestBuilder");
        it.field("method", &self.method).field("target", &self.target).finish_non_exhaustive()
    }
}

/// A call, and all that must live longer than its future.
pub(super) struct UnderWay {
    pub(super) job: Job<Answer>,
    head: Head,
    /// Its deadline has passed.
    is_late: Cell<bool>,
}

#[cfg(test)]
impl UnderWay {
    pub(super) fn head(&self) -> *const crate::abi::RequestHead {
        self.head.raw()
    }
}

impl Runs for UnderWay {
    fn run(&self) -> bool {
        let waker = self.job.waker.raw();
        // SAFETY: the waker lives as long as the call.
        let is_late = |deadline: &Timer| unsafe { deadline.poll(waker) };
        if !self.job.is_over() && self.head.deadline().is_some_and(is_late) {
            self.is_late.set(true);
            self.job.cancel();
        }
        self.job.run()
    }

    fn cancel(&self) {
        self.job.cancel();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Before the head that it reads.
        self.job.cancel();
    }
}

/// A request that is under way. When it is dropped its client goes away.
#[must_use = "when it is dropped the client goes away"]
pub struct Call<'k> {
    pub(super) kit: &'k Running,
    what: String,
    pub(super) under_way: Rc<UnderWay>,
}

impl<'k> Call<'k> {
    /// Waits for the answer's head.
    ///
    /// # Panics
    /// When there is none within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn answer(self) -> Reply<'k> {
        let UnderWay { job, is_late, .. } = &*self.under_way;
        let end = self.kit.driver().wait(&self.what, || {
            let end = job.take_end();
            if end.is_none() && is_late.get() { Some(None) } else { end.map(Some) }
        });
        let client = std::sync::Arc::clone(self.under_way.head.client());
        let reply = Reply::new(self.kit, self.what.clone(), end, client);
        // All that the answer lent was read.
        job.cancel();
        reply
    }

    /// Whether the answer is there, or the call has failed. Lets everything go on first, without time
    /// passing.
    #[track_caller]
    pub fn is_answered(&self) -> bool {
        self.kit.settle();
        self.under_way.job.is_over()
    }

    /// The client goes away: the call's future is dropped.
    pub fn abort(self) {}

    /// The client closes its side and waits on. The handler is told where it waits for that, and goes
    /// on; so it is on a host with `half_close`.
    pub fn hang_up(&self) {
        self.client().leave();
    }

    fn client(&self) -> &Client {
        self.under_way.head.client()
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.under_way.job.is_over() {
            self.under_way.job.cancel();
            self.client().leave();
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("what", &self.what).finish_non_exhaustive()
    }
}
