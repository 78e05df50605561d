//! Why a library was not loaded.

use std::{io, path::PathBuf, time::Duration};

use hotseat_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, KNOWN_FEATURES, root::Entries};
use hotseat_unload::Library;

use rustix::io::Errno;

use super::Copies;

use crate::{
    error::{Coded, Kind},
    plugin::services::PanicReport,
    sys::process::{shortage, shortage_of},
};

/// A load failed. All of it is host-owned text.
#[derive(Debug, thiserror::Error)]
#[error("{problem}{}", self.resident_text())]
pub struct LoadError {
    /// What went wrong.
    pub problem: LoadProblem,
    /// Why the library stays mapped all the same; `None`: it is gone.
    pub resident: Option<String>,
    /// That library, where it may yet be closed. Dropped, it stays for good.
    held: Option<Box<Library>>,
}

impl LoadError {
    fn resident_text(&self) -> String {
        let text = |reason| format!(" (its library stays resident: {reason})");
        self.resident.as_ref().map_or_else(String::new, text)
    }
}

impl LoadError {
    /// With the library, which `why` keeps from being closed.
    pub(in crate::plugin) fn held(problem: LoadProblem, library: Library, why: String) -> Self {
        Self { problem, resident: Some(why), held: Some(Box::new(library)) }
    }

    /// With what nothing more can be done about.
    pub(in crate::plugin) fn stays(problem: LoadProblem, why: String) -> Self {
        Self { problem, resident: Some(why), held: None }
    }

    /// The library that may yet be closed, once.
    pub(in crate::plugin) fn take_held(&mut self) -> Option<Library> {
        self.held.take().map(|library| *library)
    }

    /// Whether it has used up the time that a load has.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self.problem, LoadProblem::Timeout { .. })
    }

    /// Whether the library holds the loader: nothing more can be loaded into this process.
    #[must_use]
    pub fn holds_the_loader(&self) -> bool {
        matches!(self.problem, LoadProblem::Timeout { opening: true, .. })
    }

    /// Whether this process has something of before in its way, which a new one would not have.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(&self.problem, LoadProblem::OtherCopy(copies) if copies.is_stale())
    }
}

impl From<LoadProblem> for LoadError {
    fn from(problem: LoadProblem) -> Self {
        Self { problem, resident: None, held: None }
    }
}

/// What went wrong in a load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadProblem {
    /// The path is, or was, another load's.
    #[error("`{}` is loaded already", path.display())]
    PathInUse {
        /// The path.
        path: PathBuf,
    },
    /// The dynamic loader refused it: its own text.
    #[error("the loader refused it: {text}")]
    Open {
        /// From dlerror(3).
        text: String,
    },
    /// Nothing may be run from where its file lies.
    #[error("no library can be loaded from `{}`, which is mounted noexec", mount.display())]
    NoExec {
        /// The mount.
        mount: PathBuf,
    },
    /// Of what it needs, this process has another copy than where it was tried.
    #[error("{0}")]
    OtherCopy(Box<Copies>),
    /// There is no root module.
    #[error("it exports no entry of a hotseat plugin")]
    NoEntry,
    /// The root module's header is not what it should be.
    #[error("{text}")]
    Root {
        /// From abi_stable.
        text: String,
    },
    /// Types that cross have other layouts.
    #[error("it was built with other type layouts than this host: {text}")]
    Layout {
        /// From abi_stable.
        text: String,
    },
    /// It was built for another ABI.
    #[error("it speaks ABI {major}.{minor}, this host speaks {ABI_MAJOR}.{ABI_MINOR}")]
    AbiMismatch {
        /// The library's.
        major: u16,
        /// The library's.
        minor: u16,
    },
    /// It needs what this host does not have.
    #[error("it requires features {unknown:#x} that this host does not know")]
    UnknownFeatures {
        /// The unknown bits.
        unknown: u64,
    },
    /// `new` returned an error.
    #[error("`new` failed: {text}")]
    NewFailed {
        /// The plugin's text.
        text: String,
    },
    /// `new` panicked.
    #[error("`new` panicked{}", panic_text(report.as_ref()))]
    NewPanicked {
        /// What the plugin's panic hook said.
        report: Option<PanicReport>,
    },
    /// `dlopen` and `new` took longer than they may.
    #[error("`dlopen` and `new` took longer than {} ms", time.as_millis())]
    Timeout {
        /// The limit.
        time: Duration,
        /// It has not come back from the loader, which nothing else gets past then.
        opening: bool,
    },
    /// No thread for the load.
    #[error("a thread for the load cannot be started: {0}")]
    Spawn(#[source] io::Error),
    /// A bug of the host.
    #[error("the load broke off inside the host")]
    Broken,
}

/// ` (message at place)`, or nothing.
pub(in crate::plugin) fn panic_text(report: Option<&PanicReport>) -> String {
    report.map_or_else(String::new, |report| format!(": {report}"))
}

impl Coded for LoadError {
    fn code(&self) -> &'static str {
        match self.problem {
            LoadProblem::PathInUse { .. } => "path_in_use",
            LoadProblem::Open { .. } => "dlopen_failed",
            LoadProblem::NoExec { .. } => "state_noexec",
            LoadProblem::OtherCopy(_) => "other_copy",
            LoadProblem::NoEntry => "entry_missing",
            LoadProblem::Root { .. } | LoadProblem::AbiMismatch { .. } => "abi_mismatch",
            LoadProblem::Layout { .. } => "layout_mismatch",
            LoadProblem::UnknownFeatures { .. } => "feature_unknown",
            LoadProblem::NewFailed { .. } => "new_failed",
            LoadProblem::NewPanicked { .. } => "new_panicked",
            LoadProblem::Timeout { .. } => "load_timeout",
            LoadProblem::Spawn(_) => "load_spawn",
            LoadProblem::Broken => "load_broken",
        }
    }

    fn kind(&self) -> Kind {
        match self.problem {
            LoadProblem::PathInUse { .. }
            | LoadProblem::NoExec { .. }
            | LoadProblem::Spawn(_)
            | LoadProblem::Broken => Kind::Host,
            LoadProblem::OtherCopy(_) => Kind::Conflict,
            LoadProblem::Open { .. }
            | LoadProblem::NoEntry
            | LoadProblem::Root { .. }
            | LoadProblem::AbiMismatch { .. }
            | LoadProblem::Layout { .. }
            | LoadProblem::UnknownFeatures { .. }
            | LoadProblem::NewFailed { .. }
            | LoadProblem::NewPanicked { .. }
            | LoadProblem::Timeout { .. } => Kind::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        let rebuild = "rebuild the plugin with the `hotseat-plugin-api` of this host";
        Some(match &self.problem {
            LoadProblem::PathInUse { .. } | LoadProblem::Broken => {
                "this is a bug of hotseat; the log tells more".to_owned()
            }
            LoadProblem::Open { text } => open_hint(text),
            LoadProblem::NoExec { mount } => format!(
                "give a `--state-dir` that is not on it (for `hotseat check`: a TMPDIR), or run \
                 `mount -o remount,exec {}`",
                mount.display()
            ),
            LoadProblem::OtherCopy(copies) => copies.hint(),
            LoadProblem::NoEntry => {
                "add `export_handler!`, `export_axum!` or `export_service!` to the plugin"
                    .to_owned()
            }
            LoadProblem::Root { .. }
            | LoadProblem::Layout { .. }
            | LoadProblem::AbiMismatch { .. } => rebuild.to_owned(),
            LoadProblem::UnknownFeatures { .. } => {
                "upgrade this host, or build the plugin with an older `hotseat-plugin-api`"
                    .to_owned()
            }
            LoadProblem::NewFailed { text } if text.contains("[plugin.") => {
                "mend the file, then deploy it again, or run `hotseat reload-config`".to_owned()
            }
            LoadProblem::NewFailed { .. } => "it is the plugin's own error: see what it needs \
                 when it is made (configuration, files, other services)"
                .to_owned(),
            LoadProblem::NewPanicked { report } => {
                let known = report.as_ref().and_then(PanicReport::hint);
                let known = known.unwrap_or("return an error instead of a panic, and see its text");
                known.to_owned()
            }
            LoadProblem::Timeout { .. } => {
                "let `new` return sooner and do the rest later, or raise `load_time`".to_owned()
            }
            LoadProblem::Spawn(source) => shortage_of(source)
                .unwrap_or_else(|| "raise the limit of threads of this service".to_owned()),
        })
    }
}

fn open_hint(text: &str) -> String {
    if text.contains("undefined symbol") {
        "link the library that defines the symbol into the plugin"
    } else if text.contains("Too many open files") {
        return shortage(Errno::MFILE).unwrap_or_default();
    } else if text.contains("GLIBC_") && text.contains("not found") {
        "build it on a system whose glibc is not newer than this one's"
    } else if text.contains("cannot open shared object file") {
        "install the shared library it needs, or link it statically"
    } else {
        "see whether `ldd -r` finds a problem with the library"
    }
    .to_owned()
}

/// Compares what the entries say with what this build can do. The manifest in the file said the
/// same before; this is what will be called.
pub(super) fn check_versions(entries: &Entries) -> Result<(), LoadProblem> {
    let Entries { abi_major: major, abi_minor: minor, requires, .. } = *entries;
    if major != ABI_MAJOR {
        return Err(LoadProblem::AbiMismatch { major, minor });
    }
    match requires & !KNOWN_FEATURES {
        0 => Ok(()),
        unknown => Err(LoadProblem::UnknownFeatures { unknown }),
    }
}
