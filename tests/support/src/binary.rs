//! Other binaries than the one under test: good ones that differ, and bad ones of every kind.
//!
//! Owns the files that tests offer to an upgrade. Must not touch the binary under test: each is a
//! copy in a folder of the caller's.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{elf, library::profile_dir};

/// What every host and every plugin calls the plugin interface, whatever their own versions are.
const INTERFACE: &str = "hotseat-plugin-api;0.1.0";

/// Before the orders at the end of a copy of `faulty`.
const MARK: &[u8] = b"\nhotseat-faulty ";

/// The variable of [`Orders`] that names the file of [`fragile`].
pub const FLAG: &str = "HOTSEAT_FAULTY_FLAG";

/// Orders are no longer than this. Units: bytes.
const ORDERS_MAX: usize = 16 << 10;

/// What a copy of the `faulty` program is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// The real program, which it becomes where it has no fault.
    pub real: PathBuf,
    /// The fault; empty: none.
    pub fault: String,
    /// When the fault is a later one: how long after its start.
    pub after_ms: u64,
    /// Whether the fault shows in the checks before a start too, and not in a worker alone.
    pub at_check: bool,
    /// Variables for the real program.
    pub env: BTreeMap<String, String>,
}

impl Orders {
    /// What stands behind a copy, if anything does.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = &bytes[bytes.len().saturating_sub(ORDERS_MAX)..];
        let at = bytes.windows(MARK.len()).rposition(|window| window == MARK)?;
        let json: Value = serde_json::from_slice(&bytes[at + MARK.len()..]).ok()?;
        let env = json["env"].as_object()?.iter();
        Some(Self {
            real: json["real"].as_str()?.into(),
            fault: json["fault"].as_str()?.to_owned(),
            after_ms: json["after_ms"].as_u64()?,
            at_check: json["at_check"].as_bool()?,
            env: env
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
        })
    }

    fn write(&self) -> Vec<u8> {
        let Self { real, fault, after_ms, at_check, env } = self;
        let json = json!({
            "real": real, "fault": fault, "after_ms": after_ms, "at_check": at_check, "env": env,
        });
        [MARK, json.to_string().as_bytes()].concat()
    }
}

/// A way in which a new binary is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no file.
    Missing,
    /// It may not be executed.
    NotExecutable,
    /// It has no content.
    Empty,
    /// It is a text.
    Text,
    /// It is a program for another machine.
    OtherMachine,
    /// It is the first half of a program.
    Truncated,
    /// It ends with status 1.
    Exits,
    /// It panics.
    Panics,
    /// It aborts.
    Aborts,
    /// It dies of SIGSEGV.
    Segfaults,
    /// It writes 1 MiB to standard error and ends with status 1.
    Floods,
    /// It does nothing, for ever.
    Hangs,
    /// It is the real program, and dies of SIGABRT so many milliseconds after its start.
    AbortsLater(u64),
    /// As before, of SIGKILL.
    KilledLater(u64),
    /// As before, of SIGSEGV.
    SegfaultsLater(u64),
    /// As before, but it is stopped by SIGSTOP.
    StopsLater(u64),
    /// It is the real program, but for the protocol that it says it speaks.
    OtherProtocol,
    /// It is the real program, in which the `whoami` test plugin answers 500 to everything.
    Answers500,
}

impl Fault {
    /// The word for [`Orders`]; `None`: the file itself is the fault.
    fn word(self) -> Option<(&'static str, u64)> {
        Some(match self {
            Self::Missing
            | Self::NotExecutable
            | Self::Empty
            | Self::Text
            | Self::OtherMachine
            | Self::Truncated => return None,
            Self::Exits => ("exits", 0),
            Self::Panics => ("panics", 0),
            Self::Aborts => ("aborts", 0),
            Self::Segfaults => ("segfaults", 0),
            Self::Floods => ("floods", 0),
            Self::Hangs => ("hangs", 0),
            Self::AbortsLater(millis) => ("aborts-later", millis),
            Self::KilledLater(millis) => ("killed-later", millis),
            Self::SegfaultsLater(millis) => ("segfaults-later", millis),
            Self::StopsLater(millis) => ("stops-later", millis),
            Self::OtherProtocol => ("other-protocol", 0),
            Self::Answers500 => ("", 0),
        })
    }
}

/// A good binary that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: String,
}

/// Writes a program, whole at once by a rename: an upgrade may look at any time, and a file that
/// is open for writing cannot be executed.
#[track_caller]
fn place(path: &Path, bytes: &[u8], mode: u32) {
    let part = path.with_extension("part");
    fs::write(&part, bytes).expect("write a program");
    fs::set_permissions(&part, fs::Permissions::from_mode(mode)).expect("set its mode");
    fs::rename(&part, path).expect("rename a program");
}

#[track_caller]
fn read(binary: &Path) -> Vec<u8> {
    fs::read(binary).unwrap_or_else(|error| panic!("read `{}`: {error}", binary.display()))
}

/// What `binary --version` says, without the name.
///
/// # Panics
/// When it cannot be run.
#[must_use]
#[track_caller]
pub fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output().expect("start a binary");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// A copy of `binary` at `path` that is as good, has another content, and says another version of
/// the same length. Each `number` (1 to 89, but none that ends in 0) gives another one.
///
/// # Panics
/// When it does not say the new version afterwards.
#[must_use]
#[track_caller]
pub fn variant(binary: &Path, path: &Path, number: u8) -> Variant {
    assert!((1..90).contains(&number), "variants have numbers from 1 to 89");
    let old = version(binary);
    let new = format!("0.{}.{}", 1 + number / 10, number % 10);
    assert_eq!(old.len(), new.len(), "`{old}` and `{new}` are of one length");
    assert_ne!(old, new, "a variant says another version");
    let mut bytes = read(binary);
    let texts = elf::section(&bytes, ".rodata");
    let places: Vec<usize> = bytes[texts.clone()]
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old.as_bytes())
        .map(|(at, _)| texts.start + at)
        // Not the name of the plugin interface, which is compared when a plugin is loaded.
        .filter(|at| !bytes[..*at].ends_with(b"hotseat-plugin-api;"))
        .collect();
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    bytes.extend(format!("\nvariant {number}\n").into_bytes());
    place(path, &bytes, 0o755);
    let version = version(path);
    assert_eq!(version, new, "the version was patched");
    Variant { path: path.to_owned(), version }
}

/// A copy of `binary` at `path` that was built with another plugin interface: no plugin of this
/// tree fits it.
///
/// # Panics
/// When the name of the interface is not in it.
#[track_caller]
pub fn other_abi(binary: &Path, path: &Path) {
    let other = INTERFACE.replace("api;0.", "api;9.");
    place(path, &elf::with_text(read(binary), INTERFACE, &other), 0o755);
}

/// A bad one at `path`, which passes the checks before a start if its fault lets it run at all.
///
/// # Panics
/// When it cannot be written, or the `faulty` program is not built.
#[track_caller]
pub fn faulty(real: &Path, path: &Path, fault: Fault) {
    write(real, path, fault, false);
}

/// As [`faulty`], but the fault shows in the checks too.
///
/// # Panics
/// As [`faulty`].
#[track_caller]
pub fn faulty_at_check(real: &Path, path: &Path, fault: Fault) {
    write(real, path, fault, true);
}

/// One at `path` that is as good as `real` as long as there is no file `flag`; from then on each
/// worker ends with status 1 before it serves.
///
/// # Panics
/// As [`faulty`].
#[track_caller]
pub fn fragile(real: &Path, path: &Path, flag: &Path) {
    let env = BTreeMap::from([(FLAG.to_owned(), flag.to_string_lossy().into_owned())]);
    let fault = "exits-if".to_owned();
    let real = real.to_owned();
    place_orders(path, &Orders { real, fault, after_ms: 0, at_check: false, env });
}

#[track_caller]
fn place_orders(path: &Path, orders: &Orders) {
    let program = profile_dir().join("faulty");
    assert!(program.is_file(), "`faulty` is not built: run `make test-plugins`");
    place(path, &[read(&program), orders.write()].concat(), 0o755);
}

#[track_caller]
fn write(real: &Path, path: &Path, fault: Fault, at_check: bool) {
    if let Some((word, after_ms)) = fault.word() {
        let bad = (fault == Fault::Answers500).then_some(("WHOAMI_STATUS", "500"));
        let orders = Orders {
            real: real.to_owned(),
            fault: word.to_owned(),
            after_ms,
            at_check,
            env: bad.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        };
        return place_orders(path, &orders);
    }
    let bytes = || read(real);
    match fault {
        Fault::NotExecutable => place(path, &bytes(), 0o644),
        Fault::Empty => place(path, b"", 0o755),
        Fault::Text => place(path, b"this is no program\n", 0o755),
        Fault::OtherMachine => place(path, &elf::with_machine(bytes(), elf::EM_S390), 0o755),
        Fault::Truncated => {
            let bytes = bytes();
            place(path, &bytes[..bytes.len() / 2], 0o755);
        }
        // Whatever was there is gone.
        _ => drop(fs::remove_file(path)),
    }
}
