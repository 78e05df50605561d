//! How threads wait for each other, and for what may hang in a library.
//!
//! Owns two shapes of it: an [`Inbox`] that one side fills and the other waits at, and a [`Side`]
//! thread for one piece of work; and [`wipe_stack`], for threads that run one library after another.
//! Knows nothing of what is waited for.

mod inbox;
mod side;
mod wipe;

pub use self::{
    inbox::Inbox,
    side::{NoResult, Side},
    wipe::wipe_stack,
};
