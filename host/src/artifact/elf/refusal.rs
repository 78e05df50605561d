//! Why a file is no plugin library for this host.
//!
//! Owns the words for [`super::verify`]'s refusals and what the author must change.
//! Invariant: a released `code` never changes its meaning.

use hotseat_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, KNOWN_FEATURES};

use crate::{
    artifact::manifest::ManifestTextError,
    error::{Coded, Kind},
};

/// The file was read and refused; none of its code has run. In the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Something else altogether.
    #[error("not an ELF library: it looks like {}", .looks.text())]
    NotElf {
        /// What it looks like.
        looks: Looks,
    },
    /// The file ends before what its tables name. Units: bytes.
    #[error("truncated: it has {size} bytes, its tables name {wanted}")]
    Truncated {
        /// The least size its tables ask for.
        wanted: u64,
        /// The size it has.
        size: u64,
    },
    /// 32 bit.
    #[error("a 32 bit library ({machine}); this host is 64 bit ({})", std::env::consts::ARCH)]
    WrongClass {
        /// Its machine.
        machine: String,
    },
    /// Another processor.
    #[error("built for {machine}; this host is {}", std::env::consts::ARCH)]
    WrongMachine {
        /// Its machine.
        machine: String,
    },
    /// An ELF file of another type.
    #[error("not a shared library but {what}")]
    NotALibrary {
        /// `an executable`.
        what: &'static str,
    },
    /// Tables that contradict themselves.
    #[error("damaged: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// As `Malformed`, in the words of the ELF reader.
    #[error("damaged: {0}")]
    Unreadable(String),
    /// Its code would be made writable when it is loaded.
    #[error("it has text relocations (`DT_TEXTREL`)")]
    TextRelocations,
    /// No entry symbol.
    #[error("a shared library, but not a hotseat plugin: it exports no entry")]
    NotAPlugin,
    /// No manifest symbol, or none that lies in the file.
    #[error("a plugin without a manifest (`hotseat_manifest`)")]
    ManifestMissing,
    /// A manifest of another format.
    #[error("its manifest cannot be read: {0}")]
    ManifestUnreadable(ManifestTextError),
    /// Another ABI major.
    #[error(
        "it speaks hotseat ABI {}.{}, this host speaks {ABI_MAJOR}.{ABI_MINOR}",
        .found.0, .found.1
    )]
    AbiMismatch {
        /// Major and minor of its build.
        found: (u16, u16),
        /// The `hotseat-plugin-api` version of its build, empty when unknown.
        api: String,
    },
    /// It was built for a newer host.
    #[error(
        "it requires features {unknown:#x} of hotseat ABI {}.{}, which this host (ABI \
         {ABI_MAJOR}.{ABI_MINOR}, features {KNOWN_FEATURES:#x}) does not have",
        .found.0, .found.1
    )]
    FeatureUnknown {
        /// The bits this host does not know.
        unknown: u64,
        /// Major and minor of its build.
        found: (u16, u16),
    },
    /// A panic in it would end the host.
    #[error("built with `panic = \"abort\"`: a panic in it would end the host")]
    PanicAbort,
}

/// What a file looks like that is not ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// `.a` or `.rlib`.
    Archive,
    /// `#!`.
    Script,
    /// Letters.
    Text,
    /// A DLL or an EXE.
    Windows,
    /// A Mach-O file.
    MacOs,
    /// Anything else.
    Data,
}

impl Looks {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Archive => "a static archive (`.a` or `.rlib`)",
            Self::Script => "a script",
            Self::Text => "text",
            Self::Windows => "a Windows binary",
            Self::MacOs => "a macOS binary",
            Self::Data => "other data",
        }
    }
}

impl Coded for ElfError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotElf { .. } => "not_elf",
            Self::Truncated { .. } => "truncated",
            Self::WrongClass { .. } => "wrong_class",
            Self::WrongMachine { .. } => "wrong_machine",
            Self::NotALibrary { .. } => "not_a_library",
            Self::Malformed { .. } | Self::Unreadable(_) => "malformed",
            Self::TextRelocations => "text_relocations",
            Self::NotAPlugin => "not_a_plugin",
            Self::ManifestMissing => "manifest_missing",
            Self::ManifestUnreadable(_) => "manifest_unreadable",
            Self::AbiMismatch { .. } => "abi_mismatch",
            Self::FeatureUnknown { .. } => "feature_unknown",
            Self::PanicAbort => "panic_abort",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        let api = env!("CARGO_PKG_VERSION");
        let arch = std::env::consts::ARCH;
        let target =
            || format!("build it with `cargo build --release --target {arch}-unknown-linux-gnu`");
        Some(match self {
            Self::NotElf { looks: Looks::Archive } | Self::NotALibrary { .. } => {
                "set `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml and give the .so"
                    .to_owned()
            }
            Self::NotElf { looks: Looks::Windows | Looks::MacOs }
            | Self::WrongClass { .. }
            | Self::WrongMachine { .. } => target(),
            Self::NotElf { .. } => "give the path of a built library, a .so file".to_owned(),
            Self::Truncated { .. } => "copy it again, whole".to_owned(),
            Self::Malformed { .. } | Self::Unreadable(_) => {
                "build it again, and copy it whole".to_owned()
            }
            Self::TextRelocations => {
                "build all its parts position independent (`-fPIC` for C code)".to_owned()
            }
            Self::NotAPlugin => {
                "call `hotseat_plugin_api::export_handler!` in its lib.rs".to_owned()
            }
            Self::ManifestMissing | Self::ManifestUnreadable(_) => {
                format!(
                    "build it with `hotseat-plugin-api = \"{api}\"` and do not strip its symbols"
                )
            }
            Self::AbiMismatch { api: found, .. } if found.is_empty() => {
                format!("set `hotseat-plugin-api = \"{api}\"` in its Cargo.toml and build it again")
            }
            Self::AbiMismatch { api: found, .. } => format!(
                "in its Cargo.toml change `hotseat-plugin-api` from {found} to \"{api}\" and build \
                 it again"
            ),
            Self::FeatureUnknown { .. } => {
                format!("run a newer hotseat, or build it with `hotseat-plugin-api = \"{api}\"`")
            }
            Self::PanicAbort => {
                "set `panic = \"unwind\"` in the profile it is built with".to_owned()
            }
        })
    }
}
