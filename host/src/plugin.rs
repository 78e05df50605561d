//! The only room with `dlopen` and ABI code: loads a library, runs it, and unloads it for real.
//!
//! Owns the child that tries a candidate first ([`preflight`]), the load in the serving process
//! ([`load`], [`library`], [`instance`]) and what a plugin may ask of the host ([`services`],
//! [`blocking`], [`waker`]). How a library is watched and unloaded is `hotseat_unload`'s, of which this
//! room says what a plugin is to it ([`reaper`], [`heap`]). Knows nothing of HTTP, routes or orders.
//!
//! # Invariants
//! - Every crossing into a plugin runs under [`hotseat_unload::enter`] with its library.
//! - A library is closed by the reaper alone (or by the load that failed), and only when no lease,
//!   no plugin thread and no thread-local destructor can reach it any more.
//! - What a plugin made is freed, and its wakers are woken, by [`release`] alone: never inside a poll
//!   of hyper, h2 or tokio.
//! - Text that a plugin made is copied into host memory before anything else happens to it.
//!
//! # Order of the files
//! Each imports only from those before it, which `tests/it/tidy` reads here.
//! - `shield` `heap` `hooks` `desk`: the ground: panics that stay here, memory that is lent, what is seen,
//!   what threads ask of each other
//! - `lent` `release` `waker` `header`: what crosses the border, and how it is let go of
//! - `body` `blocking` `tasks` `topics` `services`: what the host lends and offers
//! - `library` `instance` `load`: a library, what lives in it, how it comes to be
//! - `exchange` `future` `stream` `upgrade` `call`: a request, its answer, a conversation
//! - `preflight` `reaper`: before the first request, and after the last

pub mod blocking;
mod body;
pub mod call;
pub mod desk;
pub mod exchange;
pub mod future;
pub mod header;
pub mod heap;
pub mod hooks;
pub mod instance;
mod lent;
pub mod library;
pub mod load;
pub mod preflight;
pub mod reaper;
pub mod release;
pub mod services;
mod shield;
pub mod stream;
mod tasks;
pub mod topics;
pub mod upgrade;
pub mod waker;

#[cfg(test)]
pub(crate) use self::header::tests::take_pairs;

#[cfg(test)]
mod tests;
