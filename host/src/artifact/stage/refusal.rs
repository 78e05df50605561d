//! Why a file was not even looked into.
//!
//! Owns the words for [`super::stage`]'s refusals and what to do about each.
//! Invariant: a released `code` never changes its meaning.

use std::{io, path::PathBuf};

use crate::{
    artifact::{quoted, shown},
    error::{Coded, Kind},
    sys::{process::shortage_of, start::start},
};

/// The file was not read, or must not be deployed. `path` is as it was given.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Nothing is there.
    #[error("no such file: `{}`", shown(.path))]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// The host's account may not read it, or may not enter a folder on the way.
    #[error("no permission to read `{}`", shown(.path))]
    PermissionDenied {
        /// Which.
        path: PathBuf,
    },
    /// The last component is a symlink.
    #[error("`{}` is a symlink", shown(.path))]
    IsSymlink {
        /// Which.
        path: PathBuf,
        /// What stands in it, relative to its folder or absolute.
        target: PathBuf,
    },
    /// A link, or one that it leads to, to nothing.
    #[error("`{}` is a symlink that leads nowhere", shown(.path))]
    LinkDangling {
        /// Which.
        path: PathBuf,
        /// What is not there.
        step: PathBuf,
    },
    /// Links that lead to each other, or too many of them.
    #[error("`{}` is a symlink that leads in a circle", shown(.path))]
    LinkLoop {
        /// Which.
        path: PathBuf,
    },
    /// A folder.
    #[error("`{}` is a directory", shown(.path))]
    IsDirectory {
        /// Which.
        path: PathBuf,
    },
    /// A named pipe.
    #[error("`{}` is a FIFO", shown(.path))]
    IsFifo {
        /// Which.
        path: PathBuf,
    },
    /// A Unix socket.
    #[error("`{}` is a socket", shown(.path))]
    IsSocket {
        /// Which.
        path: PathBuf,
    },
    /// A character or block device.
    #[error("`{}` is a device", shown(.path))]
    IsDevice {
        /// Which.
        path: PathBuf,
    },
    /// Of a type that has no name here.
    #[error("`{}` is not a regular file", shown(.path))]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// No bytes.
    #[error("`{}` is empty", shown(.path))]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Units: `size` and `limit` count bytes.
    #[error("`{}` has {size} bytes, at most {limit} are accepted", shown(.path))]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// It belongs neither to the host's account nor to root nor to a trusted one.
    #[error("`{}` belongs to user {owner}, whom this host does not trust", shown(.path))]
    ForeignOwner {
        /// Which.
        path: PathBuf,
        /// The file's uid.
        owner: u32,
        /// The host's uid.
        host: u32,
    },
    /// Everybody may write to it.
    #[error("`{}` is writable by everybody", shown(.path))]
    WorldWritable {
        /// Which.
        path: PathBuf,
    },
    /// Everybody may replace it.
    #[error("the folder of `{}` is writable by everybody", shown(.path))]
    FolderWorldWritable {
        /// Which.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// It changed between the first and the last look.
    #[error("`{}` changed while it was being read", shown(.path))]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The kernel failed to deliver it.
    #[error("cannot read `{}`: {source}", shown(.path))]
    ReadFailed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Coded for StageError {
    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "file_missing",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::IsSymlink { .. } => "is_symlink",
            Self::LinkDangling { .. } => "link_dangling",
            Self::LinkLoop { .. } => "link_loop",
            Self::IsDirectory { .. } => "is_directory",
            Self::IsFifo { .. } => "is_fifo",
            Self::IsSocket { .. } => "is_socket",
            Self::IsDevice { .. } => "is_device",
            Self::NotRegular { .. } => "not_regular",
            Self::Empty { .. } => "empty_file",
            Self::TooLarge { .. } => "too_large",
            Self::ForeignOwner { .. } => "foreign_owner",
            Self::WorldWritable { .. } => "world_writable",
            Self::FolderWorldWritable { .. } => "folder_world_writable",
            Self::Changed { .. } => "changed_while_reading",
            Self::ReadFailed { .. } => "read_failed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } | Self::LinkDangling { .. } => Kind::Missing,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::ReadFailed { .. } => Kind::Host,
            Self::PermissionDenied { .. }
            | Self::IsSymlink { .. }
            | Self::LinkLoop { .. }
            | Self::IsDirectory { .. }
            | Self::IsFifo { .. }
            | Self::IsSocket { .. }
            | Self::IsDevice { .. }
            | Self::NotRegular { .. }
            | Self::Empty { .. }
            | Self::ForeignOwner { .. }
            | Self::WorldWritable { .. }
            | Self::FolderWorldWritable { .. }
            | Self::Changed { .. } => Kind::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { path } if path.is_relative() => match start().folder() {
                Some(here) => format!("relative paths begin at `{}`", shown(here)),
                None => "give an absolute path: the working directory is gone".to_owned(),
            },
            Self::Missing { .. } => "check the path, and build the library first".to_owned(),
            Self::PermissionDenied { path } => {
                format!("run `chmod o+r {}`, or `chown` it to the host's user", quoted(path))
            }
            Self::IsSymlink { path, target } => {
                let folder = path.parent().unwrap_or(path);
                let target = folder.join(target);
                format!("give its target, `{}`, or set `follow_links`", shown(&target))
            }
            Self::LinkDangling { step, .. } => format!("nothing is at `{}`", shown(step)),
            Self::LinkLoop { .. } => "let the link lead to the library".to_owned(),
            Self::IsDirectory { .. } => "give the path of a library inside it".to_owned(),
            Self::IsFifo { .. }
            | Self::IsSocket { .. }
            | Self::IsDevice { .. }
            | Self::NotRegular { .. } => "give the path of a regular file".to_owned(),
            Self::Empty { .. } => "copy it again, whole".to_owned(),
            Self::TooLarge { .. } => "strip it, or raise `library_bytes`".to_owned(),
            Self::ForeignOwner { path, owner, host } => {
                format!("run `chown {host} {}`, or add {owner} to `trusted_owners`", quoted(path))
            }
            Self::WorldWritable { path } => format!("run `chmod o-w {}`", quoted(path)),
            Self::FolderWorldWritable { folder, .. } => {
                format!("run `chmod o-w {}`, or copy the file elsewhere", quoted(folder))
            }
            Self::Changed { .. } => "wait until it is written, then send it again".to_owned(),
            Self::ReadFailed { source, .. } => shortage_of(source)
                .unwrap_or_else(|| "look at the disk and at the kernel's log".to_owned()),
        })
    }
}
