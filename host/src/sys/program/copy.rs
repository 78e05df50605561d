//! A copy of a program in memory, for where its file may not be run any more.
//!
//! Owns why that is so, in words, and the line that says it once. A file system can be remounted
//! `noexec` and a file can lose its mode while the program runs; what it has started goes on, and
//! what starts anew does so from these bytes. The next start looks at the file again.

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Seek as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{
        Access, AtFlags, CWD, MemfdFlags, SealFlags, StatVfsMountFlags, accessat, fcntl_add_seals,
        fcntl_get_seals, fstatvfs, memfd_create,
    },
    io::Errno,
};

use super::NAMED;
use crate::sys::{
    mount::forbids_running,
    path::{quoted, shown},
};

const NOEXEC: StatVfsMountFlags = StatVfsMountFlags::NOEXEC;

/// The line was said, and the file could not be run since.
static SAID: AtomicBool = AtomicBool::new(false);

/// Whether the program of that name may be run, as far as is known before.
pub(super) fn may_be_run(program: &OsStr) -> bool {
    let may = accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS) != Err(Errno::ACCESS);
    if may {
        SAID.store(false, Ordering::Relaxed);
    }
    may
}

/// The program behind `descriptor` as bytes in memory that nobody changes. `None`: its file can be
/// run, as far as is known before.
///
/// # Errors
/// It may not be run, and no copy can be made: see [`remedy_of`].
pub(super) fn instead_of(descriptor: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let named = PathBuf::from(format!("{NAMED}{}", descriptor.as_raw_fd()));
    // Without `/proc` the mount alone can be asked.
    let noexec = || fstatvfs(descriptor).is_ok_and(|it| it.f_flag.contains(NOEXEC));
    if may_be_run(named.as_os_str()) && (named.exists() || !noexec()) {
        return Ok(None);
    }
    let file = std::fs::read_link(&named).ok();
    let why = Forbidden { mount: mount_of(&named, file.as_deref()), file };
    match copy_of(descriptor, &named) {
        Ok(copy) => {
            if !SAID.swap(true, Ordering::Relaxed) {
                let step = why.step();
                tracing::warn!(hint = step, "{why}: the host starts it from a copy in memory");
            }
            Ok(Some(copy))
        }
        Err(error) => {
            let refused = Refused { why, error };
            Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
        }
    }
}

/// Where nothing may be run; of a file that has gone, where its folder is.
fn mount_of(named: &Path, file: Option<&Path>) -> Option<PathBuf> {
    let mount = forbids_running(named)?;
    let folders = file.into_iter().flat_map(|it| it.ancestors().skip(1));
    let gone = mount.starts_with("/proc");
    Some(folders.filter(|_| gone).find_map(forbids_running).unwrap_or(mount))
}

fn copy_of(descriptor: BorrowedFd<'_>, named: &Path) -> io::Result<OwnedFd> {
    // One that was opened for its place only has to be opened again.
    let mut from = match File::open(named) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut file = File::from(descriptor.try_clone_to_owned()?);
            file.rewind()?;
            file
        }
        Err(error) => return Err(error),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create("hotseat", flags | MemfdFlags::EXEC) {
        // A kernel before 6.3 does not ask.
        Err(Errno::INVAL) => memfd_create("hotseat", flags),
        made => made,
    };
    let mut copy = File::from(made?);
    io::copy(&mut from, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)?;
    // A program is not started while somebody may write to it.
    reopened(copy.into())
}

/// The same file, opened for reading alone where that is possible.
fn reopened(copy: OwnedFd) -> io::Result<OwnedFd> {
    match File::open(format!("{NAMED}{}", copy.as_raw_fd())) {
        Ok(file) => Ok(file.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(copy),
        Err(error) => Err(error),
    }
}

/// Whether `program` is such a copy.
pub(super) fn is_one(program: &OwnedFd) -> bool {
    fcntl_get_seals(program.as_fd()).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// Why a file cannot be run.
#[derive(Debug)]
struct Forbidden {
    file: Option<PathBuf>,
    /// Where the file system begins that is mounted noexec.
    mount: Option<PathBuf>,
}

impl Forbidden {
    fn step(&self) -> String {
        match (&self.mount, &self.file) {
            (Some(mount), _) => format!("run `mount -o remount,exec {}`", quoted(mount)),
            (None, Some(file)) => format!("run `chmod +x {}`", quoted(file)),
            (None, None) => "let the host's account run its binary".to_owned(),
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "the binary `{}` may not be run", shown(file))?,
            None => f.write_str("the binary may not be run")?,
        }
        match &self.mount {
            Some(mount) => {
                write!(f, ": {} is mounted noexec", shown(mount))
            }
            None => f.write_str(": its mode forbids it"),
        }
    }
}

/// Neither the file nor a copy of it can be run.
#[derive(Debug)]
struct Refused {
    why: Forbidden,
    error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, and no copy of it can be made in memory: {}", self.why, self.error)
    }
}

impl std::error::Error for Refused {}

/// What to do about an error of a start; `None`: it was another one.
#[must_use]
pub fn remedy_of(error: &io::Error) -> Option<String> {
    Some(error.get_ref()?.downcast_ref::<Refused>()?.why.step())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    /// `/bin/true` under another name, with that mode.
    fn program(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        fs::copy("/bin/true", &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn what_may_be_run_is_not_copied() {
        let (_dir, path) = program(0o755);
        let file = File::open(path).unwrap();
        assert!(instead_of(file.as_fd()).unwrap().is_none());
        assert!(!is_one(&file.into()));
    }

    /// Also when its file has gone, and through a descriptor that cannot be read.
    #[test]
    fn what_may_not_be_run_is_copied_and_runs() {
        let (_dir, path) = program(0o644);
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let place = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
        fs::remove_file(&path).unwrap();
        let copy = instead_of(place.as_fd()).unwrap().unwrap();
        assert!(is_one(&copy));
        let mut command = Command::new(super::super::of_descriptor(place.as_fd()));
        assert!(super::super::ready(&mut command, true).unwrap(), "from memory");
        assert!(command.status().unwrap().success());
    }

    #[test]
    fn the_next_step_is_that_of_the_cause() {
        let (file, mount) = (Some(PathBuf::from("/a/b")), Some(PathBuf::from("/a")));
        let why = Forbidden { file: file.clone(), mount };
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let refused = Refused { why, error };
        let error = io::Error::new(io::ErrorKind::PermissionDenied, refused);
        assert_eq!(remedy_of(&error).unwrap(), "run `mount -o remount,exec /a`");
        assert!(error.to_string().contains("/a/b") && error.to_string().contains("noexec"));
        assert_eq!(Forbidden { file, mount: None }.step(), "run `chmod +x /a/b`");
        assert!(remedy_of(&io::ErrorKind::PermissionDenied.into()).is_none());
    }
}
