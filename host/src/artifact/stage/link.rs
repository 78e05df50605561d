//! Where a symlink leads, walked step by step.
//!
//! Owns the trust in what lies on the way: each link belongs to a trusted account, and so does each
//! folder that the links lead through, into which not everybody may write. Opens no file.
//! Invariant: every step starts at the descriptor of the step before, so what was checked is what is
//! gone through.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{StageError, StageRules, folder_is_safe, link_target};

/// As many as the kernel follows. Source: path_resolution(7).
const LINKS_COUNT_MAX: usize = 40;

/// The last folder and what is in it, which is neither a link nor a folder.
pub(super) struct End {
    pub(super) folder: OwnedFd,
    /// For messages.
    pub(super) path: PathBuf,
    pub(super) name: OsString,
}

struct Walk<'a> {
    /// As it was given.
    given: &'a Path,
    rules: &'a StageRules,
    folder: OwnedFd,
    path: PathBuf,
    /// Components that are still to be gone through.
    ahead: VecDeque<OsString>,
    links: usize,
}

/// Follows the link `name` in `folder`; `given` is the path that was asked for.
///
/// # Errors
/// [`StageError::LinkDangling`], [`StageError::LinkLoop`], [`StageError::IsDirectory`], and the
/// refusals of owner and mode, which name the step.
pub(super) fn follow(
    given: &Path,
    (folder, path): (OwnedFd, &Path),
    name: &OsStr,
    rules: &StageRules,
) -> Result<End, StageError> {
    // The folder that was named is trusted like that of any other file.
    folder_is_safe(given, path, &folder)?;
    let ahead = VecDeque::from([name.to_owned()]);
    let mut walk = Walk { given, rules, folder, path: path.to_owned(), ahead, links: 0 };
    while let Some(part) = walk.ahead.pop_front() {
        match part.as_bytes() {
            b"/" | b".." => walk.enter(&part, OFlags::empty())?,
            _ => {
                if let Some(name) = walk.step(part)? {
                    return Ok(End { folder: walk.folder, path: walk.path, name });
                }
            }
        }
    }
    Err(StageError::IsDirectory { path: given.to_owned() })
}

impl Walk<'_> {
    /// Goes over one component; gives it back if it is the end.
    fn step(&mut self, part: OsString) -> Result<Option<OsString>, StageError> {
        let stat = fs::statat(&self.folder, &part, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| self.failed(&part, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                self.links += 1;
                if self.links > LINKS_COUNT_MAX {
                    return Err(StageError::LinkLoop { path: self.given.to_owned() });
                }
                self.trust(&self.path.join(&part), &stat)?;
                let target = link_target(&self.folder, &part);
                for component in target.components().rev() {
                    if !matches!(component, Component::CurDir) {
                        self.ahead.push_front(component.as_os_str().to_owned());
                    }
                }
            }
            FileType::Directory => self.enter(&part, OFlags::NOFOLLOW)?,
            _ if self.ahead.is_empty() => return Ok(Some(part)),
            _ => return Err(self.failed(&part, Errno::NOTDIR)),
        }
        Ok(None)
    }

    fn enter(&mut self, part: &OsStr, more: OFlags) -> Result<(), StageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
        let folder = fs::openat(&self.folder, part, flags, Mode::empty());
        let folder = folder.map_err(|errno| self.failed(part, errno))?;
        self.path.push(part);
        let stat = fs::fstat(&folder).map_err(|errno| self.failed(part, errno))?;
        self.trust(&self.path, &stat)?;
        folder_is_safe(self.given, &self.path, &folder)?;
        self.folder = folder;
        Ok(())
    }

    fn trust(&self, step: &Path, stat: &Stat) -> Result<(), StageError> {
        let host = rustix::process::geteuid().as_raw();
        let owner = stat.st_uid;
        if owner == 0 || owner == host || self.rules.trusted_owners.contains(&owner) {
            return Ok(());
        }
        Err(StageError::ForeignOwner { path: step.to_owned(), owner, host })
    }

    fn failed(&self, part: &OsStr, errno: Errno) -> StageError {
        let path = self.given.to_owned();
        match errno {
            Errno::NOENT | Errno::NOTDIR => {
                StageError::LinkDangling { path, step: self.path.join(part) }
            }
            errno => StageError::open(&path, errno),
        }
    }
}

#[cfg(test)]
mod tests;
