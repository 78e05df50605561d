//! Topics: what a plugin's generations and threads in this process tell each other.
//!
//! Owns who is subscribed to what, and the messages that wait for each. Knows nothing of how a plugin
//! asks for them (`services`).
//!
//! A message is copied once, into the host's memory, and shared by count: whoever published it may be
//! unloaded while others still read. A reader that does not keep up loses its oldest messages and is
//! told how many; nobody waits for it.
//!
//! # Invariants
//! - A topic exists while somebody is subscribed to it, and all its subscribers get its messages in one
//!   order.
//! - Nothing is woken, and no waker dropped, under a lock: both may run a plugin's code.
//! - After the end of a generation's subscriptions nothing here leads to its library.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

use hotseat_plugin_api::abi::topic::{CAPACITY, NAME_BYTES};
use hotseat_unload::{LibraryId, Record};

use crate::{ids::PluginName, status::Beside};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub struct TopicLimits {
    /// Topics of one plugin.
    pub topics_count: usize,
    /// Subscriptions of one plugin.
    pub subscribers_count: usize,
    /// What waits for one subscriber, and hence the longest message. Units: bytes.
    pub waiting_bytes: usize,
}

/// The topics of all plugins in this process.
#[derive(Debug)]
pub struct Topics {
    limits: TopicLimits,
    /// Those that any library is open of.
    plugins: Mutex<HashMap<PluginName, Weak<OfPlugin>>>,
}

impl Topics {
    /// There are none yet.
    #[must_use]
    pub fn new(limits: TopicLimits) -> Arc<Self> {
        Arc::new(Self { limits, plugins: Mutex::default() })
    }

    /// Those of one plugin, which all of its generations share.
    pub(super) fn of(&self, plugin: &PluginName, beside: &Arc<Beside>) -> Arc<OfPlugin> {
        let mut plugins = lock(&self.plugins);
        if let Some(known) = plugins.get(plugin).and_then(Weak::upgrade) {
            return known;
        }
        plugins.retain(|_, of| of.strong_count() > 0);
        let of = Arc::new(OfPlugin {
            limits: self.limits,
            beside: Arc::clone(beside),
            next: AtomicU64::new(0),
            topics: Mutex::default(),
        });
        plugins.insert(plugin.clone(), Arc::downgrade(&of));
        of
    }
}

/// The topics of one plugin.
pub(super) struct OfPlugin {
    limits: TopicLimits,
    beside: Arc<Beside>,
    /// The number of the next reader.
    next: AtomicU64,
    topics: Mutex<HashMap<Box<str>, Arc<Topic>>>,
}

/// Who waits for a message, and whose code it is that wakes him.
pub(super) type Waiting = Vec<(LibraryId, Waker)>;

/// One topic; its readers by number.
#[derive(Default)]
struct Topic(Mutex<BTreeMap<u64, Arc<Reader>>>);

/// Why somebody was not subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are as many topics, or subscriptions, as there may be.
    Full,
    /// The generation is at its end.
    Ended,
    /// No topic can be called that.
    BadName,
}

impl OfPlugin {
    /// Gives a copy of `message` to everybody who is subscribed to `name` now; how many that are.
    /// `None`: it is too long. `wake` is for those who wait, each with its library.
    pub(super) fn publish(
        &self,
        name: &str,
        message: &[u8],
        wake: impl FnOnce(Waiting),
    ) -> Option<usize> {
        if message.len() > self.limits.waiting_bytes {
            return None;
        }
        self.beside.published.add(1);
        // In a statement of its own, so that the lock is not held meanwhile.
        let topic = lock(&self.topics).get(name).cloned();
        let Some(topic) = topic else { return Some(0) };
        let message: Arc<[u8]> = message.into();
        let mut waiting = Waiting::new();
        let mut missed = 0;
        let count = {
            let readers = lock(&topic.0);
            for reader in readers.values() {
                let mut line = lock(&reader.line);
                missed += line.push(&message, reader.capacity, self.limits.waiting_bytes);
                waiting.extend(line.waker.take().map(|waker| (reader.record.id(), waker)));
            }
            readers.len()
        };
        self.beside.missed.add(missed);
        wake(waiting);
        Some(count)
    }

    fn subscribe(
        self: &Arc<Self>,
        name: &str,
        capacity: u32,
        record: &Arc<Record>,
    ) -> Result<Arc<Reader>, Refused> {
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(Refused::BadName);
        }
        let mut topics = lock(&self.topics);
        let subscribers: usize =
            usize::try_from(self.beside.subscribers.get()).unwrap_or(usize::MAX);
        let known = topics.contains_key(name);
        if subscribers >= self.limits.subscribers_count
            || (!known && topics.len() >= self.limits.topics_count)
        {
            return Err(Refused::Full);
        }
        let reader = Arc::new(Reader {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            of: Arc::clone(self),
            topic: name.into(),
            record: Arc::clone(record),
            capacity: usize::try_from(capacity.clamp(1, CAPACITY)).unwrap_or(usize::MAX),
            line: Mutex::default(),
        });
        let topic = topics.entry(name.into()).or_default();
        lock(&topic.0).insert(reader.number, Arc::clone(&reader));
        self.beside.subscribers.add(1);
        Ok(reader)
    }
}

/// One subscription.
pub(super) struct Reader {
    number: u64,
    of: Arc<OfPlugin>,
    topic: Box<str>,
    record: Arc<Record>,
    capacity: usize,
    line: Mutex<Line>,
}

/// What waits for a reader.
#[derive(Default)]
struct Line {
    messages: VecDeque<Arc<[u8]>>,
    bytes: usize,
    missed: u64,
    waker: Option<Waker>,
    /// It is on no list any more.
    closed: bool,
}

impl Line {
    /// Adds `message`; how many others had to go for it.
    fn push(&mut self, message: &Arc<[u8]>, capacity: usize, bytes: usize) -> u64 {
        let mut missed = 0;
        while self.messages.len() >= capacity || self.bytes + message.len() > bytes {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
            missed += 1;
        }
        self.bytes += message.len();
        self.messages.push_back(Arc::clone(message));
        self.missed += missed;
        missed
    }

    fn pop(&mut self) -> Option<Received> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(Received { message, missed: mem::take(&mut self.missed) })
    }
}

/// A message, and how many before it were lost.
pub(super) struct Received {
    pub(super) message: Arc<[u8]>,
    pub(super) missed: u64,
}

impl Reader {
    /// What the library of its subscriber has in the process.
    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The next message; `None`: there will be none. The waker is made where it is needed.
    pub(super) fn poll(&self, waker: impl FnOnce() -> Waker) -> Poll<Option<Received>> {
        let ready = |line: &mut Line| match line.pop() {
            Some(received) => Some(Some(received)),
            None => line.closed.then_some(None),
        };
        if let Some(ready) = ready(&mut lock(&self.line)) {
            return Poll::Ready(ready);
        }
        // Made, and the one before dropped, outside of the lock.
        let waker = waker();
        let mut line = lock(&self.line);
        let (polled, unused) = match ready(&mut line) {
            Some(ready) => (Poll::Ready(ready), Some(waker)),
            None => (Poll::Pending, line.waker.replace(waker)),
        };
        drop(line);
        drop(unused);
        polled
    }

    /// Takes it off the lists; whoever waits for it hears of its end.
    fn leave(&self) {
        let waker = {
            let mut topics = lock(&self.of.topics);
            let Some(topic) = topics.get(&self.topic) else { return };
            let mut readers = lock(&topic.0);
            if readers.remove(&self.number).is_none() {
                return;
            }
            let empty = readers.is_empty();
            drop(readers);
            if empty {
                topics.remove(&self.topic);
            }
            self.of.beside.subscribers.take();
            let mut line = lock(&self.line);
            line.closed = true;
            (line.messages, line.bytes) = (VecDeque::new(), 0);
            line.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The subscriptions of one generation.
pub(super) struct Subscriptions {
    of: Arc<OfPlugin>,
    /// `None`: it is at its end.
    readers: Mutex<Option<BTreeMap<u64, Arc<Reader>>>>,
}

impl Subscriptions {
    pub(super) fn new(of: Arc<OfPlugin>) -> Self {
        Self { of, readers: Mutex::new(Some(BTreeMap::new())) }
    }

    /// The topics of its plugin.
    pub(super) fn topics(&self) -> &OfPlugin {
        &self.of
    }

    /// Subscribes to the topic `name`, for the library of `record`.
    pub(super) fn subscribe(
        &self,
        name: &str,
        capacity: u32,
        record: &Arc<Record>,
    ) -> Result<Arc<Reader>, Refused> {
        let mut readers = lock(&self.readers);
        let Some(readers) = &mut *readers else { return Err(Refused::Ended) };
        let reader = self.of.subscribe(name, capacity, record)?;
        readers.insert(reader.number, Arc::clone(&reader));
        Ok(reader)
    }

    /// Ends one.
    pub(super) fn leave(&self, reader: &Reader) {
        // In a statement of its own, so that the lock is not held meanwhile.
        let listed = lock(&self.readers).as_mut().and_then(|all| all.remove(&reader.number));
        drop(listed);
        reader.leave();
    }

    /// Ends all, wherever the plugin keeps them, and begins no more.
    pub(super) fn end(&self) {
        let readers = lock(&self.readers).take();
        for reader in readers.iter().flat_map(BTreeMap::values) {
            reader.leave();
        }
    }
}

impl fmt::Debug for OfPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfPlugin").field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
