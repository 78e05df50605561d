//! A mount namespace of our own, in which the state folder is a small disk.
//!
//! Owns the mounts, which nobody else sees and which end with this process. Where it is not allowed,
//! the conditions that need it are left out, and one line says so.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// How often it is tried to make the folder read-only: each time within a moment of an order.
const TRIES: u32 = 50;
/// Set for the process that is inside.
const INSIDE: &str = "HOTSEAT_CHAOS_INSIDE";

/// Goes on in a namespace of its own, if that may be had. `false`: not inside.
pub(crate) fn enter() -> anyhow::Result<bool> {
    if env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let try_out = "mount -t tmpfs -o size=1m none /mnt && mount --bind /mnt /mnt";
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", try_out]).stderr(Stdio::null());
    if !command.status().is_ok_and(|it| it.success()) {
        println!("disk      a full one and a read-only one: skipped (nothing can be mounted here)");
        return Ok(false);
    }
    let program = env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.arg(flags).arg(program).args(env::args_os().skip(1)).env(INSIDE, "1");
    Err(command.exec()).context("start `unshare`")
}

fn run(command: &str, args: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = Command::new(command).args(args).arg(folder).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command} {args:?}: {text}");
    Ok(())
}

/// The state folder as a disk.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts it.
    pub(crate) fn mount(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        run("mount", &["-t", "tmpfs", "-o", "size=160m,mode=700", "none"], folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Uses up all room.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.filler())?;
        let mut piece = vec![7; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    /// From now on every path in it is read-only: another mount of the same covers it, because
    /// files are open for writing below.
    pub(crate) fn lock(&self) -> anyhow::Result<()> {
        let folder = self.folder.to_string_lossy().into_owned();
        let mut left = TRIES;
        loop {
            run("mount", &["--bind", &folder], &self.folder)?;
            // Somebody may just have opened a file of the new one for writing.
            let Err(busy) = run("mount", &["-o", "remount,bind,ro"], &self.folder) else {
                return Ok(());
            };
            self.unlock()?;
            left -= 1;
            ensure!(left > 0, "{busy}");
        }
    }

    /// Takes that away, also from under what is still open.
    pub(crate) fn unlock(&self) -> anyhow::Result<()> {
        run("umount", &["-l"], &self.folder)
    }
}
