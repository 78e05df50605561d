//! What tests, soak and bench share: the real binary as a child, and clients that count.
//!
//! Owns the way tests meet hotseat: over its ports, its folders and its commands. Must not know
//! the host's crate: nothing here could be true of the code and false of the binary.
//! Invariant: whatever is started here is ended by its own process id, never by a name.
//! Entry point: [`start_host!`].

pub mod address;
pub mod binary;
pub mod client;
pub mod control;
pub mod disk;
pub mod elf;
pub mod events;
pub mod fuzz;
pub mod gate;
pub mod home;
pub mod host;
pub mod http2;
pub mod library;
pub mod load;
pub mod notify;
pub mod patience;
pub mod procfs;
pub mod proxy;
pub mod release;
pub mod server;
pub mod stream;
pub mod stress;
pub mod supervise;
pub mod tool;
pub mod traffic;
pub mod transfer;
pub mod wire;

pub use client::{Answer, Client, Connection};
pub use control::{Control, Deploy, Refused, Swapped};
pub use events::{Event, EventStream};
pub use gate::Gate;
pub use home::Home;
pub use host::{Builder, Host, Process, Upgrade};
pub use library::{fault, plugin};
pub use load::{Failure, Idle, Load, LoadPlan, Report};
pub use notify::Notify;
pub use patience::patience;
pub use release::Release;
pub use tool::{tool, tool_or_skip};
pub use traffic::Traffic;

/// A [`Builder`] for the binary of the package under test.
///
/// A macro, because cargo tells the binary's path to the integration test alone.
#[macro_export]
macro_rules! host {
    () => {
        $crate::Builder::new(env!("CARGO_BIN_EXE_hotseat"))
    };
}

/// A running host with nothing loaded, or with the `handler` v1 when a library is given.
#[macro_export]
macro_rules! start_host {
    () => {
        $crate::host!().start()
    };
    ($library:expr, $file_name:expr) => {
        $crate::host!().with($library, $file_name).start()
    };
}

/// Waits until the condition holds; the last resort where no event and no gate tells.
#[macro_export]
macro_rules! eventually {
    ($condition:expr $(,)?) => {
        $crate::patience::until(|| $condition, || stringify!($condition).to_owned())
    };
    ($condition:expr, $($text:tt)+) => {
        $crate::patience::until(|| $condition, || format!($($text)+))
    };
}
