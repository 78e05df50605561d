//! Where this host comes from: what was typed, in which folder, and which binary it was.
//!
//! A worker after a crash begins in the folder that is held open, whatever its name leads to by
//! now: a crash changes nothing. An upgrade opens it by its name, which a release may have pointed
//! elsewhere.

use std::{
    ffi::OsString,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, fstat, open};

use serde::{Deserialize, Serialize};

use crate::sys::program;

/// What is needed to start the same again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What followed `serve` on the command line.
    pub(super) args: Vec<OsString>,
    /// The working directory, by the name under which it was reached.
    pub(super) workdir: PathBuf,
    /// The binary, by the name under which it was started: an upgrade finds the next one there.
    pub(super) binary: PathBuf,
}

impl Origin {
    /// That of this process; `args` followed `serve`.
    ///
    /// # Errors
    /// The working directory is gone.
    pub(super) fn of_this_process(args: Vec<OsString>) -> std::io::Result<Self> {
        let workdir = std::env::current_dir()?;
        let named = std::env::var_os("PWD").map(PathBuf::from);
        // The shell's name for it may go through a link that a release flips.
        let named = named.filter(|named| named.is_absolute() && same_file(named, &workdir));
        let name = std::env::args_os().next().unwrap_or_default();
        let itself = Path::new("/proc/self/exe");
        let is_itself = |path: &PathBuf| same_file(path, itself) || !itself.exists();
        let binary = found(Path::new(&name)).filter(is_itself);
        let binary = match (binary, program::given_name()) {
            (Some(binary), _) => binary,
            // Without `/proc`.
            (None, Some(given)) if !itself.exists() => workdir.join(given),
            (None, _) => std::fs::read_link(itself)?,
        };
        Ok(Self { args, workdir: named.unwrap_or(workdir), binary })
    }

    /// The arguments with another configuration file.
    #[must_use]
    pub(super) fn with_config(&self, config: Option<&Path>) -> Vec<OsString> {
        let Some(config) = config else { return self.args.clone() };
        let mut args = Vec::with_capacity(self.args.len() + 2);
        let mut given = self.args.iter();
        while let Some(arg) = given.next() {
            let bytes = arg.as_encoded_bytes();
            if bytes == b"--config" {
                given.next();
            } else if !bytes.starts_with(b"--config=") {
                args.push(arg.clone());
            }
        }
        args.push("--config".into());
        args.push(config.into());
        args
    }
}

/// As a shell would find it.
fn found(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folder at `path`, whatever becomes of its name.
///
/// # Errors
/// It is not there, or no folder.
pub(super) fn open_workdir(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether both are the same file.
pub(super) fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let id = |it| fstat(it).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    id(one).is_some() && id(one) == id(other)
}

fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_configuration_replaces_the_first() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let origin = |list: &[&str]| Origin {
            args: args(list),
            workdir: PathBuf::new(),
            binary: PathBuf::new(),
        };
        let new = Some(Path::new("/new"));
        for given in [&["--config", "/old", "--watch", "off"][..], &["--watch", "off"]] {
            let want = args(&["--watch", "off", "--config", "/new"]);
            assert_eq!(origin(given).with_config(new), want);
        }
        assert_eq!(origin(&["--config=/old"]).with_config(new), args(&["--config", "/new"]));
        assert_eq!(origin(&["--config=/old"]).with_config(None), args(&["--config=/old"]));
    }
}
