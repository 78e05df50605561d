//! What a master and its workers say to each other, and the channel they say it on.
//!
//! Owns the protocol: [`Order`]s go down, [`Report`]s come up, descriptors travel with them. Knows
//! nothing of what either side does with them.
//! Invariant: both sides may be of different versions: unknown fields are ignored, an unknown
//! message is logged and dropped, and [`PROTO`] says whether they can work together at all.

pub mod channel;
pub mod happened;
pub mod settings;
pub mod wire;

pub use self::{
    channel::{Channel, Received},
    happened::{Deed, Happened, Numbers, Past},
    settings::{ConfigFile, Settings, Veiled},
    wire::{Asked, Beat, Boot, Order, Place, Report, StuckThread, Version},
};

/// Which protocol this build speaks. Raised when an old master could not lead a new worker.
pub const PROTO: u16 = 1;

/// In which form this build's master writes down what its own next image goes on with.
pub const MEMORY_SCHEMA: u16 = 1;

/// The first argument of a worker process; no command for people.
pub const WORKER: &str = "worker";

/// The first argument of the child that reads the settings; no command for people.
pub const SETTINGS_CHILD: &str = "settings-child";

/// The first argument of the child that keeps a copy of a binary; no command for people.
pub const STAGE_CHILD: &str = "stage-child";

/// Names the descriptor with what a master goes on with; set only for its own next image.
pub const MASTER_FD: &str = "HOTSEAT_MASTER_FD";
