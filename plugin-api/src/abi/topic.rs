//! Topics: bounds and answers of [`publish`](super::HostVt::publish) and
//! [`subscribe`](super::HostVt::subscribe), and what crosses with them.
//!
//! A topic belongs to the plugin's name, in one process, and is there while somebody is subscribed to
//! it.

use abi_stable::StableAbi;

use super::{Bytes, Waker};

/// The longest name; the shortest has one byte. Units: bytes.
pub const NAME_BYTES: usize = 128;
/// The largest capacity; what is beyond counts as this, and 0 as 1. Units: messages.
pub const CAPACITY: u32 = 65_536;
/// `publish` of a message that is longer than may wait for one subscriber; nobody got it.
pub const TOO_LONG: u64 = u64::MAX;
/// The answer: subscribed.
pub const DONE: u32 = 0;
/// The answer: the plugin has too many topics, or too many subscriptions.
pub const FULL: u32 = 1;
/// The answer: the generation is at its end.
pub const ENDED: u32 = 2;
/// The answer: the name is empty or too long.
pub const BAD_NAME: u32 = 3;

/// One message of a topic.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Message {
    /// How many before it were not taken in time.
    pub missed: u64,
    /// The message.
    pub bytes: Bytes,
}

/// A subscription of a topic.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Subscription {
    /// The host's data.
    pub data: *mut (),
    /// Functions of the host.
    #[sabi(unsafe_opaque_field)]
    pub vt: *const SubscriptionVt,
}

/// Functions of a [`Subscription`]. Growing. Called from any thread, one at a time.
#[repr(C)]
#[derive(Debug)]
pub struct SubscriptionVt {
    /// Units: bytes of this struct in the host's build.
    pub size: u32,
    /// `READY` (a message), `PENDING` or `END`: the generation is at its end.
    pub poll_next:
        unsafe extern "C" fn(data: *mut (), waker: *const Waker, out: *mut Message) -> u32,
    /// Ends it; called once.
    pub drop: unsafe extern "C" fn(data: *mut ()),
}
