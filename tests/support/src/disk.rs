//! The state folder on a small disk of its own, and how a test reaches it.
//!
//! Owns a mount in a private namespace, which ends with the host. Nothing of the machine is
//! touched.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use crate::{Builder, Host, tool::skip, tool_or_skip};

/// A disk that only one host has.
#[derive(Debug)]
pub struct Disk {
    /// The state folder, which is the whole disk, as seen from here.
    pub state: PathBuf,
    pid: u32,
    inside: PathBuf,
}

/// Starts a host whose state folder is a disk of 160 MiB. `None`: nothing can be mounted here, which
/// was said.
#[must_use]
#[track_caller]
pub fn small(builder: Builder) -> Option<(Host, Disk)> {
    let flags: &[&str] = if geteuid().is_root() { &["-m"] } else { &["-Urm"] };
    tool_or_skip("unshare", "util-linux")?;
    let can = "mount -t tmpfs -o size=1m none /mnt";
    let can = Command::new("unshare").args(flags).args(["sh", "-c", can]).output();
    if !can.is_ok_and(|it| it.status.success()) {
        skip("nothing can be mounted here");
        return None;
    }
    let inside = builder.home().state();
    fs::create_dir(&inside).expect("make the state folder");
    let mount =
        format!("mount -t tmpfs -o size=160m,mode=700 none {} && exec \"$@\"", inside.display());
    let through = [&["unshare"], flags, &["sh", "-c", &mount, "sh"]].concat();
    let host = builder.through(&through).start();
    let pid = host.pid();
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let state = root.join(inside.strip_prefix("/").expect("an absolute path"));
    Some((host, Disk { state, pid, inside }))
}

impl Disk {
    /// Uses up what is left; the file that does.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let filler = self.state.join("filler");
        let mut file = File::create(&filler).expect("create the filler");
        let mut piece = vec![7; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        filler
    }

    /// From now on nothing can be written to it, by a read-only mount in its place: one that files
    /// are open on for writing cannot be mounted anew. False, with a word: this machine does not let
    /// us.
    #[must_use]
    pub fn close(&self) -> bool {
        self.run("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"")
    }

    /// Undoes [`close`](Self::close).
    #[must_use]
    pub fn open(&self) -> bool {
        self.run("umount -l \"$0\"")
    }

    fn run(&self, script: &str) -> bool {
        let pid = self.pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m"]);
        if !geteuid().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["sh", "-c", script]).arg(&self.inside);
        let done = command.output().is_ok_and(|it| it.status.success());
        if !done {
            skip("nothing can be mounted here");
        }
        done
    }

    /// What lies in a folder of it, by name.
    #[must_use]
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.state.join(folder))
    }
}

/// What lies in a folder, by name.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
    names.sort();
    names
}
