//! nginx's own upgrade (USR2, then QUIT) under the same kept connections, to compare.
//!
//! Owns its masters, one after another: each is the child of the one before, and ours once that
//! one has ended. nginx takes USR2 only if it is not the child of whoever has started it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use hotseat_test_support::{
    Load, address::free_address, eventually, patience::breathe, procfs, tool::tool_or_skip,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

use crate::{Options, mixed::kept_plan};

/// The master whose id stands in the file; ended when this is dropped.
struct Nginx {
    home: tempfile::TempDir,
}

impl Nginx {
    fn pid_file(&self) -> std::path::PathBuf {
        self.home.path().join("pid")
    }

    /// The newest master, which has written its id.
    fn master(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// One upgrade, as nginx's manual has it.
    fn change(&self) -> anyhow::Result<()> {
        let old = self.master().context("nginx has written its process id")?;
        kill_process(old, Signal::USR2)?;
        eventually!(self.master().is_some_and(|new| new != old), "nginx's new master");
        let new = self.master().context("nginx has written its process id")?;
        let id = u32::try_from(new.as_raw_nonzero().get())?;
        eventually!(!procfs::children(id).is_empty(), "the new master's workers");
        kill_process(old, Signal::QUIT)?;
        eventually!(is_over(old), "the end of nginx's old master");
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(master) = self.master()
            && kill_process(master, Signal::TERM).is_ok()
        {
            while !is_over(master) {
                breathe(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// Whether it has ended; it is waited for then.
fn is_over(pid: Pid) -> bool {
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    let state = u32::try_from(pid.as_raw_nonzero().get()).ok().and_then(procfs::state);
    state.is_none_or(|state| state == 'Z')
}

fn start(program: &Path, listen: &str) -> anyhow::Result<Nginx> {
    let home = tempfile::Builder::new().prefix("nginx-").tempdir()?;
    let folder = home.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .collect();
    // Connections end for no other reason than the upgrade.
    let text = format!(
        "worker_processes auto;\npid {folder}/pid;\nevents {{}}\nhttp {{\n{temporary}\
         access_log off;\nkeepalive_timeout 300s;\nkeepalive_requests 1000000000;\n\
         keepalive_time 24h;\n\
         server {{ listen {listen}; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n"
    );
    let config = home.path().join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("-e").arg(home.path().join("log")).arg("-c").arg(&config);
    let status = command.stdin(Stdio::null()).status().context("start nginx")?;
    anyhow::ensure!(status.success(), "nginx does not start");
    let nginx = Nginx { home };
    eventually!(std::net::TcpStream::connect(listen).is_ok(), "nginx listening");
    eventually!(nginx.master().is_some(), "nginx's process id");
    Ok(nginx)
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Some(program) = tool_or_skip("nginx", "nginx-light") else { return Ok(()) };
    set_child_subreaper(Pid::from_raw(1)).context("adopt nginx's masters")?;
    let address = free_address();
    let nginx = start(&program, &address.to_string())?;
    let plan = kept_plan();
    let kept = plan.kept;
    let load = Load::start(address, plan);
    load.wait_for(200);
    for _ in 0..options.nginx {
        nginx.change()?;
        load.wait_for(200);
    }
    let report = load.stop();
    let text = report.to_string();
    let line = text.lines().next().unwrap_or_default();
    println!("nginx     USR2 and QUIT, {} times, {kept} kept connections: {line}", options.nginx);
    println!(
        "          failed {}   closed unannounced {}   reconnects {} of {}",
        report.failed(),
        report.closed_unannounced,
        report.reconnects,
        kept * usize::try_from(options.nginx)?,
    );
    Ok(())
}
