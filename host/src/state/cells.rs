//! The cells of plugins that are to outlive the whole host, one file a plugin.
//!
//! Owns `cells/NAME`: a line with the form, a line with the sha256 of the rest, and the rest. Knows
//! nothing of when it is written.
//! Invariant: a file appears whole, by rename. One that is not what its sum says is moved aside and
//! told; nothing of it is taken.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    artifact,
    cells::{Copied, Value},
    ids::{Digest, PluginName},
    sys::{path::PathError, start::give_mode},
};

/// The first line.
const FORM: &str = "hotseat cells 1";

/// What the host of `folder` has kept of a plugin: nothing where there is no file, or only one that is
/// damaged.
///
/// # Errors
/// It cannot be read, or is damaged and cannot be moved aside: nobody may write there then.
pub fn read(folder: &Path, plugin: &PluginName) -> Result<Copied, PathError> {
    let path = path(folder, plugin);
    let failed = |error| PathError::new("read the cells", &path, "--state-dir", error);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copied::default()),
        Err(error) => return Err(failed(error)),
    };
    if let Some(copied) = parse(&bytes) {
        return Ok(copied);
    }
    let aside = aside(&path);
    fs::rename(&path, &aside).map_err(failed)?;
    tracing::error!(
        plugin = plugin.as_str(), file = %aside.display(),
        "the cells on the disk are damaged: the plugin begins without; the file is kept"
    );
    Ok(Copied::default())
}

/// Where a damaged file is kept, beside those that are there.
fn aside(path: &Path) -> PathBuf {
    let first = path.with_extension("damaged");
    let others = (2_u32..).map(|number| path.with_extension(format!("damaged-{number}")));
    let is_free = |it: &PathBuf| it.symlink_metadata().is_err();
    std::iter::once(first.clone()).chain(others).find(is_free).unwrap_or(first)
}

/// Replaces what is kept of a plugin, or removes it where nothing is left; where it is.
///
/// # Errors
/// What was there before is still there then.
pub fn write(folder: &Path, plugin: &PluginName, copied: &Copied) -> Result<PathBuf, PathError> {
    let target = path(folder, plugin);
    let temporary = target.with_extension("tmp");
    let write = || -> io::Result<()> {
        if copied.values.is_empty() {
            return match fs::remove_file(&target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        // In a folder that is there: one that was lost is made again by whoever sees to it.
        match fs::DirBuilder::new().mode(0o700).create(folder.join("cells")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        give_mode(&file, 0o600)?;
        file.write_all(&text(copied))?;
        fs::rename(&temporary, &target)
    };
    match write() {
        Ok(()) => Ok(target),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(PathError::new("write the cells", &target, "--state-dir", error))
        }
    }
}

/// Whether something is kept of a plugin.
#[must_use]
pub fn is_there(folder: &Path, plugin: &PluginName) -> bool {
    path(folder, plugin).exists()
}

fn path(folder: &Path, plugin: &PluginName) -> PathBuf {
    folder.join("cells").join(plugin.as_str())
}

fn text(copied: &Copied) -> Vec<u8> {
    let mut body = copied.version.to_le_bytes().to_vec();
    for (key, value) in &copied.values {
        for part in [key.as_bytes(), &value.bytes] {
            body.extend((part.len() as u64).to_le_bytes());
            body.extend(part);
        }
        body.extend(value.version.to_le_bytes());
    }
    let mut text = format!("{FORM}\n{}\n", artifact::digest(&body)).into_bytes();
    text.append(&mut body);
    text
}

fn parse(bytes: &[u8]) -> Option<Copied> {
    let rest = bytes.strip_prefix(FORM.as_bytes())?.strip_prefix(b"\n")?;
    let (digest, mut body) = rest.split_at_checked(64)?;
    body = body.strip_prefix(b"\n")?;
    let digest: Digest = std::str::from_utf8(digest).ok()?.parse().ok()?;
    if artifact::digest(body) != digest {
        return None;
    }
    let mut copied = Copied { version: number(&mut body)?, values: Vec::new() };
    while !body.is_empty() {
        let key = String::from_utf8(part(&mut body)?.to_vec()).ok()?;
        let bytes = part(&mut body)?.to_vec();
        let version = number(&mut body)?;
        copied.values.push((key, Value { version, bytes }));
    }
    Some(copied)
}

fn number(body: &mut &[u8]) -> Option<u64> {
    let (number, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(u64::from_le_bytes(*number))
}

fn part<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(body)?).ok()?;
    let (part, rest) = body.split_at_checked(len)?;
    *body = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied() -> Copied {
        let value = |version, bytes: &[u8]| Value { version, bytes: bytes.to_vec() };
        let values = [("a".to_owned(), value(3, b"first\n")), ("b é".to_owned(), value(7, b""))];
        Copied { version: 9, values: values.into() }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let shop: PluginName = "shop".parse().unwrap();
        let read = || read(dir.path(), &shop).unwrap();
        assert_eq!(read(), Copied::default());
        write(dir.path(), &shop, &copied()).unwrap();
        assert!(is_there(dir.path(), &shop));
        assert_eq!(read(), copied());
        write(dir.path(), &shop, &Copied::default()).unwrap();
        assert!(!is_there(dir.path(), &shop) && read() == Copied::default());
        write(dir.path(), &shop, &Copied::default()).expect("it is gone already");
        write(&dir.path().join("away"), &shop, &copied()).unwrap_err();
    }

    #[test]
    fn what_cannot_be_read_is_no_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cells/shop")).unwrap();
        read(dir.path(), &"shop".parse().unwrap()).unwrap_err();
    }

    #[test]
    fn what_is_damaged_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let shop: PluginName = "shop".parse().unwrap();
        let whole = text(&copied());
        assert_eq!(parse(&whole), Some(copied()));
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            assert_eq!(parse(&wrong), None, "{at}");
        }
        let path = write(dir.path(), &shop, &copied()).unwrap();
        for (number, kept) in (1..).zip(["shop.damaged", "shop.damaged-2", "shop.damaged-3"]) {
            fs::write(&path, &whole[..whole.len() - number]).unwrap();
            assert_eq!(read(dir.path(), &shop).unwrap(), Copied::default());
            assert!(!path.exists(), "{kept}");
            let kept = fs::read(path.with_file_name(kept)).unwrap();
            assert_eq!(kept.len(), whole.len() - number, "none replaces another one");
        }
    }
}
