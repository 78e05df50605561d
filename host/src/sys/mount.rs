//! The mount that a file is on, and what may be done there.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// Where nothing may be run, if `path` is on such a mount. `None`: it may, as far as can be told.
#[must_use]
pub fn forbids_running(path: &Path) -> Option<PathBuf> {
    let flags = statvfs(path).ok()?.f_flag;
    flags.contains(StatVfsMountFlags::NOEXEC).then(|| point_of(path))
}

/// The folder in which the file system of `path` begins.
fn point_of(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
    let here = device(&path);
    let inside = path.ancestors().take_while(|it| device(it) == here);
    inside.last().unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_begins_where_its_device_does() {
        assert_eq!(point_of(Path::new("/proc/self/status")), Path::new("/proc"));
        assert_eq!(forbids_running(Path::new("/proc/self")).is_some(), noexec("/proc"));
    }

    fn noexec(path: &str) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(path));
        line.is_some_and(|line| line.contains("noexec"))
    }
}
