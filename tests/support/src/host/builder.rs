//! How a host is started, and the ready line.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, mpsc},
};

use super::{
    Host,
    family::Family,
    launch::{Launch, Lent},
};
use crate::{client::Failures, eventually, home::Home, notify::Notify, patience::patience, wire};

/// What the ready line says.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The line.
    pub line: String,
    /// The first data address.
    pub data: SocketAddr,
    /// The first control address over TCP.
    pub control: SocketAddr,
}

impl Ready {
    /// Reads `hotseat 0.1.0 ready: data A,B control C pid N`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|it| *it == word)?;
            words.get(at + 1)?.split(',').find_map(|it| it.parse().ok())
        };
        words.iter().position(|it| *it == "ready:")?;
        Some(Self { line: line.to_owned(), data: after("data")?, control: after("control")? })
    }
}

/// A host to be.
#[derive(Clone, Debug)]
pub struct Builder {
    binary: PathBuf,
    home: Arc<Home>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    config: Option<String>,
    awaited: Vec<String>,
    listen: Vec<String>,
    relative: bool,
    launch: Launch,
    /// Where its standard error goes, instead of the file of its home.
    log: Option<Arc<OwnedFd>>,
}

impl Builder {
    /// A host of `binary` in a folder of its own.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let home = Arc::new(Home::new());
        Self {
            binary: binary.into(),
            home,
            args: Vec::new(),
            env: Vec::new(),
            config: None,
            awaited: Vec::new(),
            listen: vec!["127.0.0.1:0".to_owned()],
            relative: false,
            launch: Launch::default(),
            log: None,
        }
    }

    /// Writes its log there, and not to the file of its home.
    #[must_use]
    pub fn log_to(mut self, log: impl Into<OwnedFd>) -> Self {
        self.log = Some(Arc::new(log.into()));
        self
    }

    /// Its folders, which can be filled before the start.
    #[must_use]
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Lives in another's folders.
    #[must_use]
    pub fn at(mut self, home: &Arc<Home>) -> Self {
        self.home = home.clone();
        self
    }

    /// Puts a library into the plugins folder, as `libNAME_vLABEL.so`. [`Self::start`] waits until
    /// NAME serves: the folder is worked through after the ready line.
    ///
    /// # Panics
    /// When the name is no such name, or the copy fails.
    #[must_use]
    pub fn with(mut self, library: impl AsRef<Path>, file_name: &str) -> Self {
        let stem = file_name.strip_prefix("lib").and_then(|rest| rest.rsplit_once("_v"));
        let (name, _) = stem.expect("`libNAME_vLABEL.so`");
        self.awaited.push(name.to_owned());
        self.home.drop_in(library.as_ref(), file_name);
        self
    }

    /// One more argument of `serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The text of a configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Where it listens for data, instead of a free port; none: the configuration says.
    #[must_use]
    pub fn listen(mut self, addresses: &[&str]) -> Self {
        self.listen = addresses.iter().map(|&it| it.to_owned()).collect();
        self
    }

    /// With its folders as paths from the working directory.
    #[must_use]
    pub fn relative(mut self) -> Self {
        self.relative = true;
        self
    }

    /// Started by a service manager that is told how it goes.
    #[must_use]
    pub fn notify(self, manager: &Notify) -> Self {
        self.env("NOTIFY_SOCKET", manager.path())
    }

    /// Started with sockets and their names, as systemd passes them (`LISTEN_FDS`).
    #[must_use]
    pub fn listen_fds<N, F>(mut self, sockets: impl IntoIterator<Item = (N, F)>) -> Self
    where
        N: Into<String>,
        F: Into<OwnedFd>,
    {
        let sockets = sockets.into_iter().map(|(name, fd)| (name.into(), Arc::new(fd.into())));
        self.launch.sockets.extend(sockets);
        self
    }

    /// Says that the sockets are meant for another process.
    #[must_use]
    pub fn listen_pid(mut self, pid: u32) -> Self {
        self.launch.listen_pid = Some(pid);
        self
    }

    /// [`relative`](Self::relative), in a working directory of its own below its home: `work`.
    ///
    /// # Panics
    /// When that cannot be made.
    #[must_use]
    pub fn in_work(self) -> Self {
        let work = self.home.path().join("work");
        std::fs::create_dir_all(work.join("plugins")).expect("make the working directory");
        self.relative().through(&["sh", "-c", "cd work && exec \"$@\"", "sh"])
    }

    /// Run by a command, which gets the binary and its arguments as its last arguments.
    #[must_use]
    pub fn through(mut self, command: &[&str]) -> Self {
        self.launch.through = command.iter().map(OsString::from).collect();
        self
    }

    /// Another binary, for the start and for commands.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = binary.into();
        self
    }

    /// The binary.
    #[must_use]
    pub fn binary_path(&self) -> &Path {
        &self.binary
    }

    /// Any command of the binary, in the home as working directory.
    #[must_use]
    pub fn command(&self) -> Command {
        let (mut command, _) = Launch::default().command(&self.binary, self.home.path());
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs any command of the binary to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("start the binary")
    }

    /// `serve` and its arguments, as a test that does not want [`Self::start`] may type them.
    #[must_use]
    pub fn serve_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["serve".into()];
        args.extend(self.listen.iter().map(|it| format!("--listen={it}").into()));
        args.extend(["--control", "127.0.0.1:0", "--plugins"].map(OsString::from));
        let named = |path: PathBuf| {
            let short = path.strip_prefix(self.home.path()).ok().filter(|_| self.relative);
            OsString::from(short.unwrap_or(&path))
        };
        args.extend([named(self.home.plugins()), "--state-dir".into(), named(self.home.state())]);
        if let Some(text) = &self.config {
            let file = self.home.write("hotseat.toml", text.as_bytes());
            args.extend(["--config".into(), file.into()]);
        }
        args.extend(self.args.iter().cloned());
        args
    }

    fn serve(&self) -> (Command, Lent) {
        let (mut command, lent) = self.launch.command(&self.binary, self.home.path());
        command.envs(self.env.iter().map(|(k, v)| (k, v))).args(self.serve_args());
        (command, lent)
    }

    /// Starts a host that must not come up: its end and its log.
    ///
    /// # Panics
    /// When it does not end within patience.
    #[must_use]
    #[track_caller]
    pub fn start_in_vain(&self) -> (ExitStatus, String) {
        let log = self.home.path().join("vain.log");
        let file = File::create(&log).expect("create the log");
        let (mut command, lent) = self.serve();
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().expect("start");
        drop(lent);
        let end = std::time::Instant::now() + patience();
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for the host") {
                break status;
            }
            if std::time::Instant::now() > end {
                Family::of(child.id()).kill();
                let _ = child.wait();
                panic!("the host came up, or hangs");
            }
            crate::patience::breathe(std::time::Duration::from_millis(2));
        };
        (status, std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Starts it and waits for the ready line.
    pub(super) fn spawn_ready(&self) -> (Child, Ready) {
        let log = || {
            let file = File::options().create(true).append(true).open(self.home.log());
            OwnedFd::from(file.expect("open the log"))
        };
        let log = self.log.as_ref().map_or_else(log, |log| log.try_clone().expect("copy it"));
        let (mut command, lent) = self.serve();
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("start the host");
        drop(lent);
        let output = child.stdout.take().expect("its stdout is a pipe");
        let (lines, first) = mpsc::sync_channel(1);
        // The thread also keeps the pipe empty; it ends with the child.
        std::thread::spawn(move || {
            let mut told = false;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if !told {
                    told = lines.send(line).is_ok();
                }
            }
        });
        let line = first.recv_timeout(patience());
        match line.as_deref().ok().and_then(Ready::parse) {
            Some(ready) => (child, ready),
            None => {
                Family::of(child.id()).kill();
                let status = child.wait();
                panic!("no ready line ({line:?}, {status:?}):\n{}", self.home.read_log())
            }
        }
    }

    /// Starts it and waits for what it was started with.
    ///
    /// # Panics
    /// When it does not come up within patience.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Host {
        let (child, ready) = self.spawn_ready();
        let host = Host {
            builder: self,
            child,
            ready,
            failures: Failures::default(),
            orphans: Family::default(),
        };
        for name in &host.builder.awaited {
            eventually!(wire::active(&host.status(), name).is_some(), "`{name}` serving");
        }
        host
    }
}
