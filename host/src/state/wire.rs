//! The JSON of `manifest.json`.
//!
//! Owns the format: private, versioned, converted by hand. Times are whole milliseconds since the
//! epoch, paths are texts, or lists of bytes where they are no text.
//! Invariants: a released schema is read for ever; a newer one is refused, never guessed at. Within
//! a schema keys are only added, and a release that does not know one ignores it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Fate, Manifest, Seen, VersionEntry, Versions};
use crate::ids::Generation;

/// The schema that this build writes.
pub(super) const SCHEMA: u32 = 1;

/// Read first, alone: everything else may look different in another schema.
#[derive(Deserialize)]
struct WireSchema {
    schema: u32,
}

#[derive(Serialize, Deserialize)]
struct WireManifest {
    schema: u32,
    /// A host of before it was counted has written none.
    #[serde(default)]
    serial: u64,
    next_generation: u64,
    changed_last: Option<String>,
    plugins: BTreeMap<String, WirePlugin>,
    seen: Vec<WireSeen>,
}

#[derive(Serialize, Deserialize)]
struct WirePlugin {
    active: bool,
    versions: Vec<WireVersion>,
    /// Contents that were left and not committed since.
    #[serde(default)]
    left: Vec<String>,
    #[serde(default)]
    changed_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withdrawn: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireVersion {
    generation: u64,
    sha256: String,
    label: String,
    committed_at_ms: u64,
    rolled_back: bool,
    from: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireSeen {
    path: WirePath,
    inode: u64,
    size_bytes: u64,
    mtime_ns: i64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctime_ns: Option<i64>,
    /// How often its order was begun; left out when that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordered: Option<u32>,
    /// The code of a refusal whose reason may go away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    held: bool,
}

impl WireSeen {
    fn new(path: &Path, seen: &Seen) -> Self {
        let (mut ordered, mut waits, mut held) = (None, None, false);
        match &seen.fate {
            Fate::Ended => {}
            Fate::Ordered(count) => ordered = Some(*count),
            Fate::Waits(code) => waits = Some(code.clone()),
            Fate::Held => held = true,
        }
        Self {
            path: WirePath::from(path),
            inode: seen.inode,
            size_bytes: seen.size,
            mtime_ns: seen.mtime_ns,
            sha256: seen.digest.to_string(),
            ctime_ns: seen.ctime_ns,
            ordered,
            waits,
            held,
        }
    }

    fn seen(self) -> Result<(PathBuf, Seen), String> {
        let fate = match (self.ordered, self.waits, self.held) {
            (Some(count), _, _) => Fate::Ordered(count),
            (None, Some(code), _) => Fate::Waits(code),
            (None, None, true) => Fate::Held,
            (None, None, false) => Fate::Ended,
        };
        let Self { path, inode, size_bytes: size, mtime_ns, ctime_ns, sha256, .. } = self;
        let digest = parse(&sha256)?;
        Ok((path.into(), Seen { inode, size, mtime_ns, ctime_ns, digest, fate }))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WirePath {
    Text(String),
    Bytes(Vec<u8>),
}

/// Why a text is no manifest.
#[derive(Debug)]
pub(super) enum WireError {
    /// Written by a newer hotseat.
    Newer(u32),
    /// Not what this or an older hotseat writes; one line.
    Bad(String),
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let plugins = manifest.plugins.iter().map(|(name, versions)| {
        let list = versions.list().iter().map(|entry| WireVersion {
            generation: entry.generation.0,
            sha256: entry.digest.to_string(),
            label: entry.label.as_str().to_owned(),
            committed_at_ms: to_ms(entry.committed_at),
            rolled_back: entry.rolled_back,
            from: entry.from.map(|generation| generation.0),
        });
        let plugin = WirePlugin {
            active: versions.is_active(),
            versions: list.collect(),
            left: versions.left().iter().map(ToString::to_string).collect(),
            changed_at_ms: versions.changed_at().map(to_ms),
            withdrawn: versions.withdrawn(),
        };
        (name.to_string(), plugin)
    });
    let seen = manifest.seen.iter().map(|(path, seen)| WireSeen::new(path, seen));
    let wire = WireManifest {
        schema: SCHEMA,
        serial: manifest.serial,
        next_generation: manifest.next_generation.0,
        changed_last: manifest.changed_last.as_ref().map(ToString::to_string),
        plugins: plugins.collect(),
        seen: seen.collect(),
    };
    let mut text = serde_json::to_vec_pretty(&wire)
        .expect("only numbers, texts and lists under keys that are texts");
    text.push(b'\n');
    text
}

pub(super) fn decode(text: &[u8]) -> Result<Manifest, WireError> {
    let bad = |error: serde_json::Error| WireError::Bad(error.to_string());
    let WireSchema { schema } = serde_json::from_slice(text).map_err(bad)?;
    if schema > SCHEMA {
        return Err(WireError::Newer(schema));
    }
    let wire: WireManifest = serde_json::from_slice(text).map_err(bad)?;
    from_wire(wire).map_err(WireError::Bad)
}

fn from_wire(wire: WireManifest) -> Result<Manifest, String> {
    let mut manifest = Manifest {
        serial: wire.serial,
        next_generation: Generation(wire.next_generation),
        changed_last: wire.changed_last.map(|name| parse(&name)).transpose()?,
        plugins: BTreeMap::new(),
        seen: BTreeMap::new(),
    };
    for (name, plugin) in wire.plugins {
        let list: Result<Vec<_>, String> = plugin.versions.into_iter().map(version).collect();
        let mut versions =
            Versions::restore(list?, plugin.active).map_err(|e| format!("plugin `{name}`: {e}"))?;
        let left: Result<Vec<_>, String> = plugin.left.iter().map(|text| parse(text)).collect();
        versions = versions.remembering(left?, plugin.changed_at_ms.map(from_ms));
        if let Some(text) = plugin.withdrawn {
            versions.set_withdrawn(text);
        }
        let newest = versions.list().last().map(|entry| entry.generation);
        if newest.is_some_and(|newest| newest >= manifest.next_generation) {
            return Err(format!("plugin `{name}`: its generation is above the counter"));
        }
        manifest.plugins.insert(parse(&name)?, versions);
    }
    for seen in wire.seen {
        let (path, seen) = seen.seen()?;
        manifest.seen.insert(path, seen);
    }
    Ok(manifest)
}

fn version(wire: WireVersion) -> Result<VersionEntry, String> {
    Ok(VersionEntry {
        generation: Generation(wire.generation),
        digest: parse(&wire.sha256)?,
        label: parse(&wire.label)?,
        committed_at: from_ms(wire.committed_at_ms),
        rolled_back: wire.rolled_back,
        from: wire.from.map(Generation),
    })
}

fn parse<T: std::str::FromStr<Err = crate::ids::IdError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: crate::ids::IdError| error.to_string())
}

/// Whole milliseconds since the epoch; a clock before it counts as the epoch.
pub(super) fn to_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The reverse of [`to_ms`]; a time that the clock cannot hold counts as the epoch.
pub(super) fn from_ms(ms: u64) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    epoch.checked_add(Duration::from_millis(ms)).unwrap_or(epoch)
}

impl From<&Path> for WirePath {
    fn from(path: &Path) -> Self {
        path.to_str().map_or_else(
            || Self::Bytes(path.as_os_str().as_bytes().to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }
}

impl From<WirePath> for PathBuf {
    fn from(path: WirePath) -> Self {
        match path {
            WirePath::Text(text) => text.into(),
            WirePath::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}
