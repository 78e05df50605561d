//! How a host is started, and the ready line.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, mpsc},
};

use super::Host;
use crate::{client::Failures, eventually, home::Home, patience::patience, wire};

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
    fn parse(line: &str) -> Option<Self> {
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
        }
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

    /// Any command of the binary, in the home as working directory.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command.env_remove("STATE_DIRECTORY").envs(self.env.iter().map(|(k, v)| (k, v)));
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

    fn serve(&self) -> Command {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command.arg("--plugins").arg(self.home.plugins());
        command.arg("--state-dir").arg(self.home.state());
        if let Some(text) = &self.config {
            command.arg("--config").arg(self.home.write("hotseat.toml", text.as_bytes()));
        }
        command.args(&self.args);
        command
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
        let mut command = self.serve();
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().expect("start");
        let end = std::time::Instant::now() + patience();
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for the host") {
                break status;
            }
            if std::time::Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the host came up, or hangs");
            }
            crate::patience::breathe(std::time::Duration::from_millis(2));
        };
        (status, std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Starts it and waits for the ready line.
    pub(super) fn spawn_ready(&self) -> (Child, Ready) {
        let log = File::options().create(true).append(true).open(self.home.log());
        let mut command = self.serve();
        command.stdout(Stdio::piped()).stderr(log.expect("open the log"));
        let mut child = command.spawn().expect("start the host");
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
                let _ = child.kill();
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
        let host = Host { builder: self, child, ready, failures: Failures::default() };
        for name in &host.builder.awaited {
            eventually!(wire::active(&host.status(), name).is_some(), "`{name}` serving");
        }
        host
    }
}
