//! The configuration file: where it is looked for, and how it is read.
//!
//! Owns the usual places and what the process was given from outside besides flags. Knows no
//! setting by name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;

use super::{ConfigError, places, plugin};
use crate::sys::start::way_back;

/// The name of the file in each of the usual places.
const FILE_NAME: &str = "hotseat.toml";

/// No file may be larger: it travels between the processes of a host, and is kept. Units: bytes.
pub const FILE_BYTES: usize = 64 << 20;

/// What flags, files and defaults are relative to. Tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The usual places, first one first.
    pub places: Vec<PathBuf>,
    /// `$STATE_DIRECTORY`, which systemd sets.
    pub state_directory: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let folder = |name| std::env::var_os(name).filter(|text| !text.is_empty());
        let config_home = folder("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".config")));
        let places = [
            Some(PathBuf::from(FILE_NAME)),
            config_home.map(|home| home.join("hotseat").join(FILE_NAME)),
            Some(Path::new("/etc/hotseat").join(FILE_NAME)),
        ];
        // systemd lists several folders with colons; the first one is the unit's own.
        let state_directory = folder("STATE_DIRECTORY").and_then(|list| {
            let list = list.into_string().ok()?;
            list.split(':').next().map(PathBuf::from)
        });
        Self { places: places.into_iter().flatten().collect(), state_directory }
    }
}

/// The file to read: `named` whether it is there or not, else the first of the usual places.
fn find(named: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
    if let Some(path) = named {
        return Some(path.to_owned());
    }
    let folder = way_back().unwrap_or_default();
    let there = |path: &&PathBuf| look(&folder.join(path)) == Found::Something;
    around.places.iter().find(there).cloned()
}

#[derive(PartialEq, Eq)]
enum Found {
    Nothing,
    /// The account may not look.
    Locked,
    /// Also what cannot be read: a file that is there is not passed over in silence.
    Something,
}

fn look(place: &Path) -> Found {
    match place.symlink_metadata().map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Found::Nothing,
        Err(io::ErrorKind::PermissionDenied) => Found::Locked,
        Ok(_) | Err(_) => Found::Something,
    }
}

/// Says which usual places were passed over before `found`, because this account may not look there
/// (`sudo -u` keeps the `HOME` of another one).
pub fn warn_of_passed_over(found: Option<&Path>) {
    for place in passed_over(found, &Surroundings::of_this_process()) {
        let hint = "set HOME for this account, or give the file with `--config`";
        let place = place.display();
        tracing::warn!(%place, hint, "this account may not look for a configuration file there");
    }
}

/// Those usual places before `found` where this account may not look.
#[must_use]
pub fn passed_over<'a>(found: Option<&Path>, around: &'a Surroundings) -> Vec<&'a Path> {
    let places = &around.places;
    let count = match found {
        None => places.len(),
        // One that was named is in none of them.
        Some(found) => places.iter().position(|it| it == found).unwrap_or_default(),
    };
    let before = places[..count].iter().filter(|it| look(it) == Found::Locked);
    before.map(PathBuf::as_path).collect()
}

/// What a configuration file says, kept so that another process reads the very same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileText {
    /// Which file; `None`: there is none, and nobody needs to look again.
    pub path: Option<PathBuf>,
    /// All of it.
    pub text: String,
}

/// Finds the file as [`RawConfig::load`](super::RawConfig::load) does, and reads it without
/// understanding it.
///
/// # Errors
/// It is there, or was asked for, and cannot be read.
pub fn find_and_read(named: Option<&Path>, around: &Surroundings) -> Result<FileText, ConfigError> {
    let Some(path) = find(named, around) else { return Ok(FileText::default()) };
    // By the name that it has for whoever started the host.
    let there = way_back().map_or_else(|| path.clone(), |folder| folder.join(&path));
    match read(&there, (FILE_BYTES, "larger than 64 MiB")) {
        Ok(text) => Ok(FileText { path: Some(path), text }),
        Err(NotRead::Io(source)) => Err(ConfigError::Read { path, source }),
        Err(NotRead::NoFile(what)) => Err(ConfigError::NoFile { path, what }),
    }
}

/// Whether `file` says what it said, and is still the one to read. In doubt it is not.
#[must_use]
pub fn is_as_before(file: &FileText, around: &Surroundings) -> bool {
    let Some(path) = &file.path else { return find(None, around).is_none() };
    // One before it may be there by now.
    let is_first = !around.places.contains(path) || find(None, around).as_ref() == Some(path);
    is_first && find_and_read(Some(path), around).is_ok_and(|now| now.text == file.text)
}

/// Why there is no text.
#[derive(Debug)]
pub(in crate::config) enum NotRead {
    Io(io::Error),
    /// `a pipe`.
    NoFile(&'static str),
}

/// The text of a regular file of at most `limit` bytes (with what a larger one is): whatever else has a
/// name could keep the reader waiting, never end, or be empty when an upgrade reads it again.
pub(in crate::config) fn read(
    path: &Path,
    (limit, too_large): (usize, &'static str),
) -> Result<String, NotRead> {
    // Opening a pipe waits for its writer without `NONBLOCK`.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match fs::metadata(path) {
        // Which open(2) refuses with an error of devices.
        Ok(meta) if meta.file_type().is_socket() => NotRead::NoFile("a socket"),
        _ => NotRead::Io(error),
    })?;
    if let Some(what) = no_file(&file).map_err(NotRead::Io)? {
        return Err(NotRead::NoFile(what));
    }
    if file.metadata().is_ok_and(|it| it.len() > limit as u64) {
        return Err(NotRead::NoFile(too_large));
    }
    let mut text = String::new();
    // It may grow meanwhile.
    file.take(limit as u64 + 1).read_to_string(&mut text).map_err(NotRead::Io)?;
    if text.len() > limit { Err(NotRead::NoFile(too_large)) } else { Ok(text) }
}

/// What an open file is instead of a regular one.
fn no_file(file: &File) -> io::Result<Option<&'static str>> {
    let meta = file.metadata()?;
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_char_device() || kind.is_block_device() {
        // The usual word for an empty file.
        let null = fs::metadata("/dev/null").is_ok_and(|it| it.rdev() == meta.rdev());
        (!null).then_some("a device")
    } else {
        (!kind.is_file()).then_some("no regular file")
    })
}

/// Understands what was read, or the part of it that is wanted.
pub(super) fn parse<T: DeserializeOwned>(file: &FileText) -> Result<T, ConfigError> {
    toml::from_str(&file.text).map_err(|error| wrong(file, &error))
}

/// In one line, as all that is told over the control plane and in the history; what stands there is no
/// part of it, because that may be a secret.
fn wrong(file: &FileText, error: &toml::de::Error) -> ConfigError {
    let text = error.message().trim_end().replace('\n', ", ");
    let path = file.path.clone().unwrap_or_default();
    // What the host reads of a plugin's table has only the place of the table.
    let own = places::of(&path, &file.text).into_iter().find_map(|(name, places)| {
        let (key, line) = plugin::culprit(&file.text, &name, &text, &places)?;
        Some((format!("[plugin.{name}] {key}: {text}"), line))
    });
    if let Some((text, line)) = own {
        let typed = file.text.lines().nth(line - 1).unwrap_or_default();
        let column = typed.len() - typed.trim_start().len() + 1;
        return ConfigError::Parse { path, place: Some((line, column)), text };
    }
    let before = error.span().and_then(|span| file.text.get(..span.start));
    let Some(before) = before else { return ConfigError::Parse { path, place: None, text } };
    let line = before.rsplit('\n').next().unwrap_or_default();
    let place = Some((before.matches('\n').count() + 1, line.chars().count() + 1));
    let is_key = |key: &&str| key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(is_key);
    let text = key.map_or(text.clone(), |key| format!("{key}: {text}"));
    ConfigError::Parse { path, place, text }
}
