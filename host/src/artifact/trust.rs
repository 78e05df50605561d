//! Whether nobody but trusted accounts decides what a path leads to.
//!
//! For files that are opened later, and again and again: looking at the file alone would be of no
//! use, because whoever owns a folder on the way can put another one there. Source: the
//! `StrictModes` of sshd_config(5).

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{quoted, shown};

/// "Others may write", of a mode.
const WORLD_WRITE: u32 = 0o002;
/// "Only its owner may rename or remove an entry", of a folder's mode.
const STICKY: u32 = 0o1000;

/// Why a path is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It cannot be looked at.
    #[error("`{}`: {source}", shown(.path))]
    Unseen {
        /// The file or a folder on the way.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another account owns it.
    #[error("`{}` belongs to user {owner}, who is not trusted", shown(.path))]
    Owner {
        /// The file, a link or a folder on the way.
        path: PathBuf,
        /// Its uid.
        owner: u32,
    },
    /// Everybody may change it.
    #[error("`{}` is writable by everybody", shown(.path))]
    WorldWritable {
        /// The file or a folder on the way.
        path: PathBuf,
    },
}

impl Untrusted {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unseen { .. } => None,
            Self::Owner { path, .. } => {
                Some(format!("run `chown root {}`, or set `trusted_owners`", quoted(path)))
            }
            // A device or a pipe that everybody writes to is meant to be one.
            Self::WorldWritable { path } if !path.is_file() && !path.is_dir() => {
                Some("give the path of a regular file".to_owned())
            }
            Self::WorldWritable { path } => Some(format!("run `chmod o-w {}`", quoted(path))),
        }
    }
}

/// Looks at `path`, at what it leads to behind symlinks, and at every folder on both ways: each
/// belongs to root, to this process's account or to one of `owners`, and not everybody may write.
///
/// # Errors
/// The first that is not so.
pub fn trusted(path: &Path, owners: &[u32]) -> Result<(), Untrusted> {
    let unseen = |source| Untrusted::Unseen { path: path.to_owned(), source };
    let named = std::path::absolute(path).map_err(unseen)?;
    let real = fs::canonicalize(path).map_err(unseen)?;
    let host = rustix::process::geteuid().as_raw();
    named.ancestors().chain(real.ancestors()).try_for_each(|step| look(step, host, owners))
}

fn look(step: &Path, host: u32, owners: &[u32]) -> Result<(), Untrusted> {
    let meta = fs::symlink_metadata(step)
        .map_err(|source| Untrusted::Unseen { path: step.to_owned(), source })?;
    let owner = meta.uid();
    if owner != 0 && owner != host && !owners.contains(&owner) {
        return Err(Untrusted::Owner { path: step.to_owned(), owner });
    }
    // A link has no mode of its own.
    let open = !meta.is_symlink() && meta.mode() & WORLD_WRITE != 0;
    if open && !(meta.is_dir() && meta.mode() & STICKY != 0) {
        return Err(Untrusted::WorldWritable { path: step.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn nobody_is_told_to_change_a_device() {
        let refused = trusted(Path::new("/dev/null"), &[]).unwrap_err();
        let hint = refused.hint().unwrap();
        assert!(!hint.contains("chmod"), "{hint}");
    }

    #[test]
    fn every_step_of_both_ways_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, file) = (dir.path().join("inner"), dir.path().join("inner/file"));
        fs::create_dir(&inner).unwrap();
        fs::File::create(&file).unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            trusted(path, &[]).unwrap();
        }
        set(&inner, 0o777);
        for path in [&file, &link] {
            let refused = trusted(path, &[]).unwrap_err();
            assert!(matches!(&refused, Untrusted::WorldWritable { path } if *path == inner));
            assert!(refused.hint().unwrap().contains("chmod"));
        }
        set(&inner, 0o1777);
        trusted(&file, &[]).unwrap();
        set(&file, 0o646);
        assert!(matches!(trusted(&link, &[]), Err(Untrusted::WorldWritable { .. })));
        set(&file, 0o755);
        assert!(matches!(trusted(&inner.join("none"), &[]), Err(Untrusted::Unseen { .. })));
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(4711), None).unwrap();
            let refused = trusted(&link, &[]).unwrap_err();
            assert!(matches!(refused, Untrusted::Owner { owner: 4711, .. }), "{refused}");
            trusted(&link, &[4711]).unwrap();
        }
    }
}
