//! Who starts a host where there is no systemd: a container (as process 1), supervisord.
//!
//! Owns how these are found and started. Needs what `make test-packages` installs.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::{
    Host, eventually,
    home::Home,
    host::{Builder, Ready},
    library::profile_dir,
    procfs,
    tool::{skip, tool},
};

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];

/// The host as process 1 of a namespace of its own, as in a container; `None` where that is not
/// allowed, which was said. `Host::pid` is that of `unshare` then: see [`outer_pid`].
#[must_use]
#[track_caller]
pub fn as_process_one(builder: Builder) -> Option<Builder> {
    let allowed = || {
        let mut command = Command::new(UNSHARE[0]);
        command.args(&UNSHARE[1..]).arg("true").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if geteuid().is_root() && allowed() {
        return Some(builder.through(&UNSHARE));
    }
    skip("a namespace for process ids needs root and `unshare` (package util-linux)");
    None
}

/// The process id of a host that is process 1, as it is seen from here.
///
/// # Panics
/// When it has ended.
#[must_use]
#[track_caller]
pub fn outer_pid(host: &Host) -> u32 {
    *procfs::children(host.pid()).first().expect("the namespace has its process 1")
}

/// A supervisord of its own with one program, the host.
#[derive(Debug)]
pub struct Supervisord {
    child: Child,
    programs: PathBuf,
    home: std::sync::Arc<Home>,
}

impl Supervisord {
    /// Starts it and waits until the host is ready; `None` where it is not installed, which was
    /// said. `stop_seconds` is how long it waits before it kills.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(builder: &Builder, stop_seconds: u32) -> Option<Self> {
        let programs = profile_dir().parent()?.join("supervisor").join("bin");
        let program = Some(programs.join("supervisord")).filter(|it| it.is_file());
        let found = program.or_else(|| tool("supervisord"));
        let Some(program) = found else {
            skip("`supervisord` is not installed (`make test-packages` puts it below target/)");
            return None;
        };
        let programs = program.parent()?.to_owned();
        let home = builder.home().clone();
        let config = home.write("supervisord.conf", config(builder, stop_seconds).as_bytes());
        let log = fs::File::create(home.path().join("supervisord.out")).expect("create its log");
        let mut command = Command::new(program);
        command.arg("--nodaemon").arg("--configuration").arg(config);
        command.current_dir(home.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("copy the log")).stderr(log);
        let child = command.spawn().expect("start supervisord");
        let it = Self { child, programs, home };
        eventually!(it.ready().is_some(), "the host's ready line; {}", it.status());
        Some(it)
    }

    /// What the host's last ready line said.
    #[must_use]
    pub fn ready(&self) -> Option<Ready> {
        let text = fs::read_to_string(self.home.path().join("host.out")).unwrap_or_default();
        text.lines().filter_map(Ready::parse).next_back()
    }

    /// Runs `supervisorctl` with these arguments: what it says.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(self.programs.join("supervisorctl"));
        command.arg("--configuration").arg(self.home.path().join("supervisord.conf")).args(args);
        let output = command.current_dir(self.home.path()).output().expect("start supervisorctl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `hotseat  RUNNING  pid 17, uptime 0:00:03`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> String {
        self.ctl(&["status", "hotseat"])
    }

    /// The process that it takes for the host.
    #[must_use]
    #[track_caller]
    pub fn host_pid(&self) -> Option<u32> {
        self.ctl(&["pid", "hotseat"]).trim().parse().ok().filter(|pid| *pid != 0)
    }

    /// `/v1/status` of the host.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    #[track_caller]
    pub fn host_status(&self) -> Value {
        let control = self.ready().expect("the host was ready").control;
        crate::Control { address: control }.status()
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        // It stops its program when it is asked to end, and kills it at its own limit.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = fs::read_to_string(self.home.path().join("supervisord.out"));
            eprintln!("---- supervisord:\n{}", text.unwrap_or_default());
        }
    }
}

/// `%` is special to supervisord, and `"` keeps words together.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('%', "%%"))
}

fn config(builder: &Builder, stop_seconds: u32) -> String {
    let args = builder.serve_args();
    let words = std::iter::once(builder.binary_path().as_os_str())
        .chain(args.iter().map(AsRef::as_ref))
        .map(|word| quoted(&word.to_string_lossy()));
    let command = words.collect::<Vec<_>>().join(" ");
    let home = builder.home().path().display();
    format!(
        "[unix_http_server]\nfile={home}/supervisor.sock\n\
         [supervisorctl]\nserverurl=unix://{home}/supervisor.sock\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisord]\nlogfile={home}/supervisord.log\npidfile={home}/supervisord.pid\n\
         childlogdir={home}\n\
         [program:hotseat]\ncommand={command}\ndirectory={home}\nautorestart=unexpected\n\
         startsecs=1\nstopwaitsecs={stop_seconds}\nstopsignal=TERM\n\
         stdout_logfile={home}/host.out\nstderr_logfile={home}/host.log\n"
    )
}
