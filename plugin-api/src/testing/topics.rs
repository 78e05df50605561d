//! Topics: what the plugin publishes, and who is subscribed.
//!
//! Invariant: no waker is called or dropped under the lock.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    waker::Kept,
    world::{World, lock},
};
use crate::{
    abi::{
        self, Str, Waker, poll,
        topic::{self, Message, Subscription, SubscriptionVt},
    },
    owned::OwnedBytes,
};

/// What may wait for one subscriber. Units: bytes.
const WAITING_BYTES: usize = 1 << 20;
/// Subscriptions at one time.
const SUBSCRIBERS: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    readers: BTreeMap<u64, Reader>,
    ended: bool,
}

#[derive(Debug)]
struct Reader {
    topic: String,
    capacity: usize,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    missed: u64,
    waker: Option<Kept>,
}

impl Reader {
    fn push(&mut self, message: &Bytes) {
        while self.waiting.len() >= self.capacity || self.bytes + message.len() > WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.len();
            self.missed += 1;
        }
        self.bytes += message.len();
        self.waiting.push_back(message.clone());
    }
}

impl Topics {
    /// How many got it; `None`: it is too long.
    pub(super) fn publish(&self, topic: &str, message: &Bytes) -> Option<usize> {
        if message.len() > WAITING_BYTES {
            return None;
        }
        let mut wakers = Vec::new();
        let mut count = 0;
        {
            let mut state = lock(&self.0);
            for reader in state.readers.values_mut().filter(|it| it.topic == topic) {
                reader.push(message);
                wakers.extend(reader.waker.take());
                count += 1;
            }
        }
        wakers.into_iter().for_each(Kept::wake);
        Some(count)
    }

    /// From now on there are no more messages than wait already.
    pub(super) fn end(&self) {
        let wakers: Vec<_> = {
            let mut state = lock(&self.0);
            state.ended = true;
            state.readers.values_mut().filter_map(|reader| reader.waker.take()).collect()
        };
        wakers.into_iter().for_each(Kept::wake);
    }

    fn subscribe(&self, topic: &str, capacity: u32) -> Result<u64, u32> {
        if topic.is_empty() || topic.len() > topic::NAME_BYTES {
            return Err(topic::BAD_NAME);
        }
        let mut state = lock(&self.0);
        if state.ended {
            return Err(topic::ENDED);
        }
        if state.readers.len() >= SUBSCRIBERS {
            return Err(topic::FULL);
        }
        state.last += 1;
        let number = state.last;
        let capacity = usize::try_from(capacity.clamp(1, topic::CAPACITY)).unwrap_or(usize::MAX);
        let reader = Reader {
            topic: topic.to_owned(),
            capacity,
            waiting: VecDeque::new(),
            bytes: 0,
            missed: 0,
            waker: None,
        };
        state.readers.insert(number, reader);
        Ok(number)
    }
}

/// [`abi::HostVt::publish`].
pub(super) unsafe extern "C" fn publish(host: *const (), topic: Str, message: Str) -> u64 {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    // SAFETY: lent for the call.
    let (topic, message) = unsafe { (topic.bytes(), message.bytes()) };
    let topic = String::from_utf8_lossy(topic).into_owned();
    let message = Bytes::copy_from_slice(message);
    let Some(count) = world.topics.publish(&topic, &message) else { return topic::TOO_LONG };
    world.record().published.push((topic, message));
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A subscription, as the plugin has it.
struct Handle {
    world: &'static World,
    number: u64,
}

/// [`abi::HostVt::subscribe`].
pub(super) unsafe extern "C" fn subscribe(
    host: *const (),
    topic: Str,
    capacity: u32,
    out: *mut Subscription,
) -> u32 {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    // SAFETY: lent for the call.
    let topic = String::from_utf8_lossy(unsafe { topic.bytes() });
    if world.ended.load(Ordering::Acquire) {
        return topic::ENDED;
    }
    match world.topics.subscribe(&topic, capacity) {
        Ok(number) => {
            let data = Box::into_raw(Box::new(Handle { world, number })).cast();
            // SAFETY: room for a subscription.
            unsafe { out.write(Subscription { data, vt: &VT }) };
            topic::DONE
        }
        Err(code) => code,
    }
}

static VT: SubscriptionVt =
    SubscriptionVt { size: abi::size_of_u32::<SubscriptionVt>(), poll_next, drop: free };

unsafe extern "C" fn poll_next(data: *mut (), waker: *const Waker, out: *mut Message) -> u32 {
    // SAFETY: made in `subscribe`.
    let Handle { world, number } = unsafe { &*data.cast::<Handle>() };
    // SAFETY: the waker of a poll is valid for it.
    let kept = unsafe { Kept::of(world, waker) };
    let mut state = lock(&world.topics.0);
    let ended = state.ended;
    let Some(reader) = state.readers.get_mut(number) else { return poll::END };
    if let Some(message) = reader.waiting.pop_front() {
        reader.bytes -= message.len();
        let missed = std::mem::take(&mut reader.missed);
        drop(state);
        let bytes = OwnedBytes::from(message).into_abi();
        // SAFETY: room for a message.
        unsafe { out.write(Message { missed, bytes }) };
        return poll::READY;
    }
    if ended {
        drop(state);
        return poll::END;
    }
    let before = reader.waker.replace(kept);
    drop(state);
    drop(before);
    poll::PENDING
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: made in `subscribe`, dropped once.
    let handle = unsafe { Box::from_raw(data.cast::<Handle>()) };
    let removed = lock(&handle.world.topics.0).readers.remove(&handle.number);
    drop(removed);
}
