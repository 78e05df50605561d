//! What goes through the pipes between parent and child: one line of JSON each.
//!
//! Private to one executable, which is on both ends, so it has no version.

use std::{os::unix::ffi::OsStrExt, path::PathBuf};

use hotseat_unload::resolved::Resolved;
use serde::{Deserialize, Serialize};

use super::{Leaves, PreflightRequest};
use crate::{cells::Bounds, sys::start::start};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) nonce: String,
    pub(super) parent: u32,
    /// Bytes, because a path need not be UTF-8.
    pub(super) path: Vec<u8>,
    pub(super) plugin: String,
    pub(super) label: String,
    pub(super) config: Option<String>,
    pub(super) config_places: Option<String>,
    /// Where the host's cells are.
    pub(super) cells: Option<PathBuf>,
    pub(super) cell_bounds: Bounds,
    /// What the host began with.
    pub(super) umask: u32,
    /// Processor time. Units: seconds.
    pub(super) cpu: u64,
}

/// The request as text.
pub(super) fn request(request: &PreflightRequest, nonce: &str, parent: u32) -> String {
    let wire = Request {
        nonce: nonce.to_owned(),
        parent,
        path: request.path.as_os_str().as_bytes().to_owned(),
        plugin: request.plugin.as_str().to_owned(),
        label: request.label.as_str().to_owned(),
        config: request.settings.json.clone(),
        config_places: request.settings.places.clone(),
        cells: request.cells.clone(),
        cell_bounds: request.cell_bounds,
        umask: start().umask(),
        // A busy loop ends by this even if the parent is stopped.
        cpu: request.time.as_secs() + 2,
    };
    serde_json::to_string(&wire).expect("text and numbers always have a JSON form")
}

/// A line of the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) nonce: String,
    pub(super) line: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Line {
    /// What is tried next, so that a crash has a place.
    Stage(Stage),
    Passed {
        unmapped: bool,
        hazards: Vec<String>,
        #[serde(default)]
        leaves: Box<Leaves>,
        #[serde(default)]
        resolved: Vec<Resolved>,
    },
    Refused {
        code: String,
        text: String,
        hint: Option<String>,
    },
}

/// The steps of a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before anything of the candidate ran.
    Setup,
    /// `dlopen`: its constructors run.
    Open,
    /// Layout check and `new`.
    New,
    /// `self_test`.
    SelfTest,
    /// `stop`.
    Stop,
    /// The instance's drop.
    Drop,
    /// `dlclose`: its destructors run.
    Close,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Setup => "before the library was opened",
            Self::Open => "in its constructors",
            Self::New => "in `new`",
            Self::SelfTest => "in `self_test`",
            Self::Stop => "in `stop`",
            Self::Drop => "in its `drop`",
            Self::Close => "while it was unloaded",
        })
    }
}
