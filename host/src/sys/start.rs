//! What this process began with: its folder, its umask, its limits, its environment.
//!
//! All of these belong to the process, and so to every plugin in it, which may change each at any
//! time. What the host does by itself goes by what was there at the start. Knows nothing of plugins.
//! Entry point: [`start`]. Invariant: looked at once, before the first plugin is opened.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// See the module.
#[derive(Debug)]
pub struct Start {
    /// `None`: it was gone already.
    folder: Option<(PathBuf, OwnedFd)>,
    mask: Mode,
    limits: Vec<(Resource, Rlimit)>,
    environment: Vec<(OsString, OsString)>,
}

/// Those that hold the host back when somebody lowers them.
const LIMITS: [Resource; 9] = [
    Resource::Nofile,
    Resource::Fsize,
    Resource::As,
    Resource::Data,
    Resource::Stack,
    Resource::Nproc,
    Resource::Memlock,
    Resource::Sigpending,
    Resource::Core,
];

/// That of this process. The first call looks; later ones remember.
pub fn start() -> &'static Start {
    START.get_or_init(Start::look)
}

static START: OnceLock<Start> = OnceLock::new();

/// The folder that relative paths begin at, if a plugin has changed the process's own since. Does not
/// look by itself: before the first look nothing can have changed it.
pub fn way_back() -> Option<PathBuf> {
    START.get()?.way_back()
}

impl Start {
    fn look() -> Self {
        let mask = umask(Mode::empty());
        umask(mask);
        Self {
            folder: folder().ok(),
            mask,
            limits: LIMITS.map(|it| (it, getrlimit(it))).to_vec(),
            environment: std::env::vars_os().collect(),
        }
    }

    /// The working directory, absolute. `None`: it was gone already.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(|(path, _)| path.as_path())
    }

    /// What relative paths begin at, for openat(2): the folder itself, whatever it is called by now.
    #[must_use]
    pub fn at(&self) -> BorrowedFd<'_> {
        self.folder.as_ref().map_or(CWD, |(_, folder)| folder.as_fd())
    }

    /// `path` as an absolute one.
    ///
    /// # Errors
    /// It is relative, and the working directory was gone at the start; it is empty.
    pub fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        match self.folder() {
            Some(folder) if path.is_relative() && !path.as_os_str().is_empty() => {
                std::path::absolute(folder.join(path))
            }
            _ => std::path::absolute(path),
        }
    }

    /// Where a child has to be sent so that it begins where this process began. `None`: it begins
    /// there by itself.
    #[must_use]
    pub fn way_back(&self) -> Option<PathBuf> {
        let (name, folder) = self.folder.as_ref()?;
        let began = rustix::fs::fstat(folder).ok()?;
        let is_it = |path: &Path| {
            fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (began.st_dev, began.st_ino))
        };
        if is_it(Path::new(".")) {
            return None;
        }
        // It may have another name by now, or none.
        let held = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        [name.clone(), held].into_iter().find(|path| is_it(path))
    }

    /// The variables.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// One of them.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// What is taken from the modes of new files.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.mask.as_raw_mode()
    }

    /// Raises every limit again that was lowered since, as far as that is allowed; which.
    pub fn raise_limits(&self) -> Vec<Resource> {
        // No limit is the highest one.
        let height = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let lowered = self.limits.iter().filter_map(|(resource, began)| {
            let now = getrlimit(*resource);
            let wanted = height(began.current).min(height(now.maximum));
            if height(now.current) >= wanted {
                return None;
            }
            let current = (wanted != u64::MAX).then_some(wanted);
            setrlimit(*resource, Rlimit { current, maximum: now.maximum }).ok()?;
            Some(*resource)
        });
        lowered.collect()
    }
}

fn folder() -> io::Result<(PathBuf, OwnedFd)> {
    let path = std::env::current_dir()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((path, openat(CWD, ".", flags, Mode::empty())?))
}

/// Makes a folder with exactly `mode`, whatever the umask is by now. One that is there is left alone.
///
/// # Errors
/// The system's own.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, permissions(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes `path` and the folders above it that are not there, as the umask of the start wants them,
/// but such that their owner can enter and nobody else can write: an umask of 0777 does not lock the
/// host out, nor one of 0 let everybody in.
///
/// # Errors
/// The system's own.
pub fn make_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    make_folder(path, 0o700 | (0o755 & !start().umask()))?;
    // Something else may have its name.
    if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Gives a file that was just made exactly `mode`, whatever the umask is by now.
///
/// # Errors
/// The system's own.
pub fn give_mode(file: &fs::File, mode: u32) -> io::Result<()> {
    file.set_permissions(permissions(mode))
}

fn permissions(mode: u32) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_begins_where_the_process_began() {
        let start = start();
        let here = start.folder().unwrap();
        assert_eq!(start.absolute(Path::new("a/../b")).unwrap(), here.join("a/../b"));
        assert_eq!(start.absolute(Path::new("/a")).unwrap(), Path::new("/a"));
        assert!(start.absolute(Path::new("")).is_err());
        assert_eq!(start.way_back(), None, "nobody has gone anywhere");
    }

    #[test]
    fn folders_are_made_whatever_the_umask_is_by_now() {
        use std::os::unix::fs::PermissionsExt as _;
        let began = Mode::from_raw_mode(start().umask());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        umask(Mode::all());
        let made = make_folders(&path);
        umask(began);
        made.unwrap();
        for path in [path.as_path(), path.parent().unwrap()] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o722, 0o700, "{}", path.display());
        }
        make_folders(&path).unwrap();
        let file = path.join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let refused = make_folders(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotADirectory, "{}", path.display());
        }
    }

    #[test]
    fn a_lowered_limit_is_raised_again_and_a_raised_one_stays() {
        let nothing = start();
        let now = getrlimit(Resource::Sigpending);
        let Some(began) = now.current.filter(|it| *it > 8) else { return };
        setrlimit(Resource::Sigpending, Rlimit { current: Some(7), ..now }).unwrap();
        assert_eq!(nothing.raise_limits(), [Resource::Sigpending]);
        assert_eq!(getrlimit(Resource::Sigpending).current, Some(began));
        assert_eq!(nothing.raise_limits(), []);
    }
}
