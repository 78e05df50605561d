//! The one writer: everything that changes what serves goes through here, one order at a time.
//!
//! Edges hand in an [`order::Order`] at the [`desk`]; the [`pipeline`]'s thread takes them out and
//! carries each to its end:
//! stage > verify > preflight > load > commit > swap, then retire > drain > unload.
//!
//! # Invariants
//! - A refused or failed order leaves exactly what was there before.
//! - What was acknowledged is what boots: the manifest is on disk before the answer.
//! - A candidate is a typestate: only what passed its preflight can be loaded, and only what is
//!   loaded can reach the table.

mod amend;
pub mod boot;
pub mod candidate;
pub mod ceiling;
pub mod companions;
pub mod condition;
pub mod desk;
mod failed;
pub mod keeping;
mod line;
pub mod order;
pub mod pipeline;
pub mod record;
pub mod reload;
pub mod renewal;
pub mod room;
pub mod settings;
pub mod standing;
pub mod tried;
pub mod upkeep;

pub use amend::Withdrawal;
