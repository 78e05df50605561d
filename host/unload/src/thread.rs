//! How threads wait for each other, and for what may hang in a library.
//!
//! Owns two shapes of it: an [`Inbox`] that one side fills and the other waits at, and a [`Side`]
//! thread for one piece of work. Knows nothing of what is waited for.

mod inbox;
mod side;

pub use self::{
    inbox::Inbox,
    side::{NoResult, Side},
};
