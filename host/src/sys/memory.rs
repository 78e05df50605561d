//! Whether the kernel has ended processes for want of memory.
//!
//! Knows both kinds of control groups. Source: cgroups(7), the kernel's admin-guide/cgroup-v2 and
//! cgroup-v1/memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// How many processes of this process's own control group the kernel has ended for want of memory.
/// `None`: it does not say.
#[must_use]
pub fn out_of_memory_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = counters(&groups, Path::new(MOUNT));
    files.iter().find_map(|file| count(&fs::read_to_string(file).ok()?))
}

/// The files that may count, best first: inside of a container the own group is the mount itself.
fn counters(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = if controllers.is_empty() {
            (mount.to_owned(), "memory.events")
        } else if controllers.split(',').any(|it| it == "memory") {
            (mount.join("memory"), "memory.oom_control")
        } else {
            continue;
        };
        files.push(mount.join(group.trim_start_matches('/')).join(file));
        files.push(mount.join(file));
    }
    files
}

/// `oom_kill 3` among other lines.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_the_own_group_is_found() {
        let files = |groups| counters(groups, Path::new("/c"));
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(files("0::/a/b\n"), paths(&["/c/a/b/memory.events", "/c/memory.events"]));
        let old = "5:devices:/x\n4:cpu,memory:/a\n";
        let wanted = ["/c/memory/a/memory.oom_control", "/c/memory/memory.oom_control"];
        assert_eq!(files(old), paths(&wanted));
        assert!(files("").is_empty() && files("nonsense").is_empty());
    }

    #[test]
    fn its_kills_are_read() {
        assert_eq!(count("low 0\nhigh 2\nmax 9\noom 3\noom_kill 4\noom_group_kill 0\n"), Some(4));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\n"), None);
    }
}
