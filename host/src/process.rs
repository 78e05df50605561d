//! A process around one worker.
//!
//! [`serve`] is a host in one process (`--single`); [`led`] is a worker of a master. Both keep
//! their main thread free for signals and messages (`keeper`) and leave in the same stages
//! (`leave`).

pub mod led;

mod keeper;
mod leave;
mod single;

pub use single::serve;
