//! Topics: what threads and versions of a plugin tell each other.
//!
//! Owns their author's side. Knows nothing of how messages are kept.
//! Invariant: a subscription is the host's, and given back once.
#![expect(unsafe_code, reason = "calls the host's table of services")]

use std::{
    fmt,
    future::poll_fn,
    mem::MaybeUninit,
    str::Utf8Error,
    sync::Arc,
    task::{self, Poll},
};

use bytes::Bytes;

use super::{Context, Host};
use crate::{
    Result,
    abi::{Str, poll, topic},
    entry,
    owned::OwnedBytes,
    waker,
};

/// Messages that may wait for a [`Topic::subscribe`].
const CAPACITY: usize = 64;

/// Why something could not be done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is empty, or longer than 128 bytes.
    BadName,
    /// The message is longer than the host's setting `topic_bytes`; nobody got it.
    TooLong,
    /// There are as many topics, or subscriptions, as the host allows: its settings `topics_count` and
    /// `subscribers_count`.
    Full,
    /// The version is at its end.
    Ended,
    /// The host is older than topics.
    Unsupported,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadName => "a topic's name has from 1 to 128 bytes",
            Self::TooLong => "the message is longer than the host's `topic_bytes` allows",
            Self::Full => {
                "there are as many topics or subscriptions as the host's `topics_count` and \
                 `subscribers_count` allow"
            }
            Self::Ended => "the version is at its end and subscribes to nothing more",
            Self::Unsupported => "topics need a host of binary interface 1.4 or later",
        })
    }
}

impl std::error::Error for TopicError {}

/// A place where a plugin's requests, tasks and threads tell each other things, whichever core they are
/// on and whichever version they belong to: all versions of the plugin in one process share it. Cheap
/// to clone.
///
/// All subscribers get the messages in one order, that in which [`publish`](Self::publish) was called:
/// two threads that number theirs in a cell first may call it the other way round. Who has to have all
/// of them in order subscribes, reads the cell, and reads it again when another number than the next
/// one comes.
///
/// Nothing is kept for those who subscribe later. Another process (the next worker, during an upgrade
/// of the host) has a topic of its own, as has a preflight.
#[derive(Clone, Debug)]
pub struct Topic {
    context: Context,
    name: Arc<str>,
}

impl Context {
    /// The topic `name` of this plugin.
    ///
    /// # Errors
    /// [`TopicError::BadName`], [`TopicError::Unsupported`].
    pub fn topic(&self, name: impl AsRef<str>) -> Result<Topic, TopicError> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > topic::NAME_BYTES {
            return Err(TopicError::BadName);
        }
        if entry!(self.host().vt => HostVt.publish).flatten().is_none() {
            return Err(TopicError::Unsupported);
        }
        Ok(Topic { context: self.clone(), name: name.into() })
    }
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives a copy of `message` to everybody who is subscribed now; how many that are. Waits for nobody.
    ///
    /// # Errors
    /// [`TopicError::TooLong`].
    pub fn publish(&self, message: impl AsRef<[u8]>) -> Result<usize, TopicError> {
        let Host { data, vt } = self.context.host();
        let publish = entry!(vt => HostVt.publish).flatten().ok_or(TopicError::Unsupported)?;
        let (name, message) = (Str::new(self.name.as_bytes()), Str::new(message.as_ref()));
        // SAFETY: `data` belongs to the table; both live until the call returns.
        match unsafe { publish(data, name, message) } {
            topic::TOO_LONG => Err(TopicError::TooLong),
            count => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        }
    }

    /// Hears what is published from now on; up to 64 messages wait.
    ///
    /// # Errors
    /// [`TopicError::Full`], [`TopicError::Ended`].
    pub fn subscribe(&self) -> Result<Subscription, TopicError> {
        self.subscribe_with(CAPACITY)
    }

    /// As [`subscribe`](Self::subscribe); up to `capacity` messages wait, at least 1 and at most 65,536.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(&self, capacity: usize) -> Result<Subscription, TopicError> {
        let Host { data, vt } = self.context.host();
        let subscribe = entry!(vt => HostVt.subscribe).flatten().ok_or(TopicError::Unsupported)?;
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let mut out = MaybeUninit::uninit();
        let name = Str::new(self.name.as_bytes());
        // SAFETY: `data` belongs to the table; the name lives until the call returns, and `out` has room.
        match unsafe { subscribe(data, name, capacity, out.as_mut_ptr()) } {
            topic::DONE => {
                // SAFETY: filled when it is done, and ours from now on.
                let raw = unsafe { out.assume_init() };
                Ok(Subscription { raw })
            }
            topic::FULL => Err(TopicError::Full),
            topic::BAD_NAME => Err(TopicError::BadName),
            _ => Err(TopicError::Ended),
        }
    }
}

/// What is published in a topic, from the moment it was subscribed to. Dropping it ends it.
///
/// # Threads
/// From any, one at a time.
#[derive(Debug)]
pub struct Subscription {
    raw: topic::Subscription,
}

// SAFETY: the ABI lets a subscription be used from any thread, one at a time.
unsafe impl Send for Subscription {}
// SAFETY: nothing is done with a shared one but show where it is.
unsafe impl Sync for Subscription {}

impl Subscription {
    /// The next message. `None`: there will be none, because the version is at its end.
    pub async fn next(&mut self) -> Option<TopicMessage> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for a stream: `poll_fn(move |cx| subscription.poll_next(cx))` of the
    /// crate `futures` is one.
    pub fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<TopicMessage>> {
        let topic::Subscription { data, vt } = self.raw;
        // SAFETY: a subscription's table lives as long as the library, and has its base entries.
        let next = unsafe { (&raw const (*vt).poll_next).read() };
        let mut out = MaybeUninit::<topic::Message>::uninit();
        let code = waker::with_abi(cx.waker(), |waker| {
            // SAFETY: the subscription is alive and used by one thread; `out` has room.
            unsafe { next(data, waker, out.as_mut_ptr()) }
        });
        match code {
            poll::PENDING => Poll::Pending,
            poll::READY => {
                // SAFETY: filled on READY.
                let topic::Message { missed, bytes } = unsafe { out.assume_init() };
                // SAFETY: a message is the receiver's.
                let bytes = unsafe { OwnedBytes::from_abi(bytes) };
                Poll::Ready(Some(TopicMessage { missed, bytes: bytes.into() }))
            }
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // SAFETY: as in `poll_next`.
        let free = unsafe { (&raw const (*self.raw.vt).drop).read() };
        // SAFETY: called once.
        unsafe { free(self.raw.data) }
    }
}

/// One message of a topic. Its bytes are the host's, shared by all who got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    missed: u64,
    bytes: Bytes,
}

impl TopicMessage {
    /// How many messages before this one were lost, because they were not taken in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Its bytes; a clone of them costs no copy.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// It as text.
    ///
    /// # Errors
    /// Where it is none.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}
