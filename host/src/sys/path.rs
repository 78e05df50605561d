//! Paths in messages: how they are shown, and what to do about an error that one has met.
//!
//! Looks at the disk when it is asked, after the error: what it says is a next step, no verdict.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{disk::Shortage, process::shortage_of};
use crate::error::{Coded, Kind};

/// A path inside a one-line message: whatever is no text or would break the line is replaced.
pub(crate) fn shown(path: &Path) -> String {
    let mark = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    path.to_string_lossy().chars().map(mark).collect()
}

/// A path as a word of a shell command, for hints.
pub(crate) fn quoted(path: &Path) -> String {
    let text = shown(path);
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Something could not be done with a file or folder that a setting names.
#[derive(Debug)]
pub struct PathError {
    doing: &'static str,
    path: PathBuf,
    setting: &'static str,
    source: io::Error,
}

impl PathError {
    /// `doing` is a verb with its object (`write the pid file`), `setting` the flag that names `path`.
    #[must_use]
    pub fn new(
        doing: &'static str,
        path: &Path,
        setting: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { doing, path: path.to_owned(), setting, source: source.into() }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} `{}`: {}", self.doing, shown(&self.path), self.source)
    }
}

impl std::error::Error for PathError {}

impl Coded for PathError {
    fn code(&self) -> &'static str {
        "path_unusable"
    }

    fn kind(&self) -> Kind {
        Kind::Host
    }

    fn hint(&self) -> Option<String> {
        Some(remedy(&self.path, &self.source, self.setting))
    }
}

/// What to do about `error`, which making, writing or reading `path` has met; `setting` is the flag
/// by which the operator can choose another one.
#[must_use]
pub fn remedy(path: &Path, error: &io::Error, setting: &str) -> String {
    let other = format!("give another one with `{setting}`");
    let Ok(path) = super::start::start().absolute(path) else {
        return format!("give an absolute path with `{setting}`: the working directory is gone");
    };
    if let Some(shortage) = Shortage::of(error, &path, 0) {
        return shortage.hint().replace("--state-dir", setting);
    }
    if let Some(shortage) = shortage_of(error) {
        return shortage;
    }
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            let there = path.ancestors().find(|it| it.exists()).unwrap_or(&path);
            format!("mount the file system of {} writable again, or {other}", quoted(there))
        }
        io::ErrorKind::NotFound => of_missing(&path, &other),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => of_no_folder(&path, &other),
        io::ErrorKind::IsADirectory => {
            format!("{} is a folder: give the path of a file with `{setting}`", quoted(&path))
        }
        io::ErrorKind::InvalidFilename => format!("give a shorter path with `{setting}`"),
        io::ErrorKind::PermissionDenied => of_forbidden(&path, &other),
        // Behind a loop of links nothing is found, by either name of this kind.
        _ if is_loop(error) => of_no_folder(&path, &other),
        _ => format!("look at the disk and at the kernel's log (`dmesg`), or {other}"),
    }
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// The parts of `path` from the root on, each with what is before it.
fn from_the_root(path: &Path) -> Vec<&Path> {
    let mut parts: Vec<_> = path.ancestors().collect();
    parts.reverse();
    parts
}

fn of_missing(path: &Path, other: &str) -> String {
    let parts = from_the_root(path);
    match parts.iter().find(|it| !it.exists()) {
        Some(link) if link.is_symlink() => {
            let target = link.read_link().unwrap_or_default();
            let target = link.parent().unwrap_or(link).join(target);
            let (link, target) = (quoted(link), quoted(&target));
            format!("{link} is a link to {target}, which is not there: make that, or {other}")
        }
        Some(missing) if *missing != path => {
            format!("make the folder {} first, or {other}", quoted(missing))
        }
        Some(_) => {
            // The folder is there, and says that nothing of that name is and can be.
            let folder = path.parent().unwrap_or(path);
            format!("nothing of that name can be made or found in {}: {other}", quoted(folder))
        }
        None => "it is there by now: try again".to_owned(),
    }
}

fn of_no_folder(path: &Path, other: &str) -> String {
    let parts = from_the_root(path);
    let Some(culprit) = parts.iter().find(|it| !it.is_dir()) else {
        return format!("{} is there already: {other}", quoted(path));
    };
    let name = quoted(culprit);
    if culprit.is_symlink() {
        return format!("the link {name} does not lead to a folder: mend it, or {other}");
    }
    // A device is not in the way: it was meant.
    if culprit.is_file() {
        return format!("{name} is a file and no folder: move it out of the way, or {other}");
    }
    format!("{name} is no folder: {other}")
}

fn of_forbidden(path: &Path, other: &str) -> String {
    let may = |path: &Path, access: Access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    let told = |what: &str, path: &Path| {
        let account = rustix::process::geteuid().as_raw();
        let whose = path.metadata().map_or_else(
            |_| String::new(),
            |it| format!(" (it belongs to user {}, mode {:04o})", it.uid(), it.mode() & 0o7777),
        );
        format!("let user {account} {what} {}{whose}, or {other}", quoted(path))
    };
    let parts = from_the_root(path);
    let there = parts.iter().take_while(|it| it.symlink_metadata().is_ok());
    let there: Vec<_> = there.copied().collect();
    if let Some(locked) = there.iter().find(|it| it.is_dir() && !may(it, Access::EXEC_OK)) {
        return told("enter", locked);
    }
    match there.last() {
        Some(last) if *last == path && !last.is_dir() && !may(last, Access::READ_OK) => {
            told("read", last)
        }
        Some(last) if !may(last, Access::WRITE_OK) => told("write to", last),
        _ => match path.parent().filter(|it| !may(it, Access::WRITE_OK)) {
            Some(folder) => told("write to", folder),
            None => {
                format!("see who forbids it (`lsattr`, SELinux, AppArmor, a sandbox), or {other}")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    /// Every way in which a path cannot be used, met for real; the step names the path that is to be
    /// changed and the setting.
    #[test]
    fn each_error_of_a_path_has_a_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        File::create(at("file")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        let long = "n".repeat(300);
        let make: fn(&Path) -> io::Error = |path| fs::create_dir(path).unwrap_err();
        let write: fn(&Path) -> io::Error = |path| fs::write(path, b"").unwrap_err();
        type Case<'a> = (&'a str, fn(&Path) -> io::Error, &'a [&'a str]);
        let cases: [Case<'_>; 11] = [
            ("no/such", make, &["make the folder", "/no first"]),
            ("no/such/file", write, &["make the folder", "/no first"]),
            ("file/x", make, &["/file is a file", "move it"]),
            ("file", make, &["/file is a file", "move it"]),
            ("loop/x", make, &["the link", "/loop"]),
            ("loop", write, &["the link", "/loop"]),
            ("dangling/x", make, &["/dangling is a link to", "/nowhere"]),
            ("folder", write, &["/folder is a folder"]),
            (&long, make, &["shorter"]),
            ("/proc/1/x", make, &["in /proc/1"]),
            ("/dev/null/x", make, &["/dev/null is no folder"]),
        ];
        for (path, fail, words) in cases {
            let path = dir.path().join(path);
            let error = fail(&path);
            let step = remedy(&path, &error, "--pid-file");
            for word in words.iter().chain(&["--pid-file"]) {
                assert!(step.contains(word), "no `{word}` in `{step}` ({error})");
            }
            let whole = PathError::new("write", &path, "--pid-file", error);
            assert!(whole.to_string().contains(&shown(&path)) && whole.hint().is_some(), "{whole}");
        }
    }

    #[test]
    fn what_the_kernel_forbids_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/x");
        fs::create_dir(dir.path().join("folder")).unwrap();
        let said = |code| remedy(&path, &io::Error::from_raw_os_error(code), "--state-dir");
        assert!(said(libc::EROFS).contains("writable again"));
        assert!(said(libc::ENOSPC).contains("--state-dir"));
        assert!(said(libc::EMFILE).contains("ulimit -n"));
        assert!(said(libc::EIO).contains("dmesg"));
        assert!(said(libc::EPERM).contains("lsattr") || !rustix::process::geteuid().is_root());
        if rustix::process::geteuid().is_root() {
            return;
        }
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o500)).unwrap();
        assert!(said(libc::EACCES).contains("write to"));
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o400)).unwrap();
        assert!(said(libc::EACCES).contains("enter"));
    }
}
