//! How threads of the host wait for each other, and for what may hang.
//!
//! Owns the three shapes of it: an [`Inbox`] that one side fills and the other waits at, a [`Side`]
//! thread for one piece of work, a line of [`Jobs`] behind each other. Knows nothing of what is
//! waited for. Data threads use none of them: on the way of a request nobody waits.

mod jobs;

pub use hotseat_unload::thread::{Inbox, NoResult, Side};

pub use self::jobs::Jobs;
