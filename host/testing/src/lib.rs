//! Runs a built plugin in a real hotseat host: for the tests of its author.
//!
//! `hotseat_plugin_api::testing` is a host in miniature within the test, and the first choice: quick,
//! with a clock that jumps. This crate shows what only the library and a real host can: that it is
//! loaded, serves over the network, is swapped, and leaves the memory. It starts a `hotseat` as a child,
//! because a library needs what that executable exports, which a test's does not.
//!
//! ```no_run
//! use hotseat_testing::Host;
//!
//! # fn main() -> hotseat_testing::Result<()> {
//! let host = Host::new().cdylib().config("[plugin.shop]\nroom = 7").start()?;
//! assert_eq!(host.get("/shop/").header("accept-language", "en").send()?.text(), "room 7\n");
//! let first = host.plugins()[0].clone();
//! let second = host.deploy_again(&first.library)?;
//! assert!(second.generation > first.generation);
//! host.wait_unloaded()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The binary
//! The `hotseat` that is started is, in this order: that of [`Host::binary`], of the variable `HOTSEAT`,
//! of `PATH`, or of the target folder that the test was built in.
//!
//! # The host
//! One process (`hotseat serve --single`) on free ports of `127.0.0.1`, in a folder of its own that goes
//! with it; of this process's variables it has none that begins with `HOTSEAT`. Without a `mount` in its
//! configuration the plugin `handler` is at `/`, any other NAME at `/NAME`.

mod build;
mod client;
mod error;
mod find;
mod process;
mod request;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use build::Build;
use process::Process;

pub use client::Answer;
pub use error::{Error, Result};
pub use request::RequestBuilder;

/// A host to be.
#[derive(Debug)]
#[must_use = "nothing runs before `start`"]
pub struct Host {
    binary: Option<PathBuf>,
    package: Option<PathBuf>,
    libraries: Vec<Library>,
    config: Option<String>,
    args: Vec<String>,
    patience: Duration,
}

/// Where a library comes from.
#[derive(Debug)]
enum Library {
    File(PathBuf),
    Built(Build),
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// One without a plugin.
    pub fn new() -> Self {
        Self {
            binary: None,
            package: None,
            libraries: Vec::new(),
            config: None,
            args: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }

    /// The `hotseat` to start, instead of the one that is found.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// The folder of the package that [`cdylib`](Self::cdylib) and the like build, instead of that which
    /// the test belongs to.
    pub fn package(mut self, folder: impl Into<PathBuf>) -> Self {
        self.package = Some(folder.into());
        self
    }

    /// Deploys a library. Its file's name says the plugin's name and version, as everywhere.
    pub fn plugin(mut self, path: impl Into<PathBuf>) -> Self {
        self.libraries.push(Library::File(path.into()));
        self
    }

    /// Deploys the library of the package that the test belongs to, built by cargo in the test's own
    /// profile and target folder, with the package's default features.
    pub fn cdylib(self) -> Self {
        self.build(["--lib"])
    }

    /// As [`cdylib`](Self::cdylib), for an example of the package whose crate type is `cdylib`.
    pub fn example(self, name: &str) -> Self {
        self.build(["--example", name])
    }

    /// As [`cdylib`](Self::cdylib), with arguments of `cargo build` that name one target:
    /// `["--lib", "--features", "x"]`.
    pub fn build<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        self.libraries.push(Library::Built(Build::new(args)));
        self
    }

    /// The text of the host's configuration file: `[plugin.NAME]`, mounts, limits.
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// One more argument of `hotseat serve`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// How long anything is waited for, instead of 30 seconds.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Builds what is to be built, starts the host and deploys its plugins.
    ///
    /// # Errors
    /// Where no `hotseat` is found, a library cannot be built, the host does not come up or refuses a
    /// plugin: with what it says, and what to do.
    pub fn start(self) -> Result<Running> {
        let binary = find::binary(self.binary)?;
        let mut libraries = Vec::new();
        for library in self.libraries {
            libraries.push(match library {
                Library::File(path) => path,
                Library::Built(build) => build.run(self.package.as_deref())?,
            });
        }
        let home = tempfile::Builder::new().prefix("hotseat-testing-").tempdir()?;
        for folder in ["plugins", "libraries"] {
            fs::create_dir(home.path().join(folder))?;
        }
        let mut args = ["--single", "--listen=127.0.0.1:0", "--control=127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec();
        for (flag, name) in [("plugins", "plugins"), ("state-dir", "state")] {
            args.push(format!("--{flag}={}", home.path().join(name).display()));
        }
        if let Some(toml) = &self.config {
            let file = home.path().join("hotseat.toml");
            fs::write(&file, toml)?;
            args.push(format!("--config={}", file.display()));
        }
        args.extend(self.args);
        let process = Process::start(&binary, &args, home.path(), self.patience)?;
        let mut running = Running {
            process,
            home,
            patience: self.patience,
            copies: AtomicUsize::new(0),
            plugins: Vec::new(),
        };
        for library in libraries {
            let deployed = running.deploy(library)?;
            running.plugins.push(deployed);
        }
        Ok(running)
    }
}

/// A plugin that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployed {
    /// Its name.
    pub plugin: String,
    /// The version's label, without a `v`.
    pub label: String,
    /// The number of this load.
    pub generation: u64,
    /// What the host finds worth saying of it.
    pub notes: Vec<String>,
    /// The library that was deployed.
    pub library: PathBuf,
}

/// A host that runs, from [`Host::start`]. It ends when this is dropped; where a test fails, the end of
/// its log is printed.
#[derive(Debug)]
pub struct Running {
    process: Process,
    home: TempDir,
    patience: Duration,
    copies: AtomicUsize,
    plugins: Vec<Deployed>,
}

impl Running {
    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.process.ready.data
    }

    /// Where it is controlled.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        self.process.ready.control
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it was started with.
    #[must_use]
    pub fn plugins(&self) -> &[Deployed] {
        &self.plugins
    }

    /// `GET path`. For more than such requests take a client that you like, at
    /// [`address`](Self::address).
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request("GET", path)
    }

    /// `POST path`, with a body.
    pub fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
        self.request("POST", path).body(body)
    }

    /// Any request.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        RequestBuilder::new(self.address(), method, path, self.patience)
    }

    /// Deploys a library; it serves when this returns. The host gets a copy of the file, in a folder of
    /// its own.
    ///
    /// # Errors
    /// Where the host refuses it: [`Error::code`] says why, and the text what to do.
    pub fn deploy(&self, library: impl AsRef<Path>) -> Result<Deployed> {
        self.deploy_with(library.as_ref(), b"")
    }

    /// As [`deploy`](Self::deploy), with some bytes more at the end of the copy: what serves already is
    /// another version by that, and is swapped.
    ///
    /// # Errors
    /// As [`deploy`](Self::deploy).
    pub fn deploy_again(&self, library: impl AsRef<Path>) -> Result<Deployed> {
        let more = format!("\n{} of hotseat-testing\n", self.copies.load(Ordering::Relaxed));
        self.deploy_with(library.as_ref(), more.as_bytes())
    }

    fn deploy_with(&self, library: &Path, more: &[u8]) -> Result<Deployed> {
        let name = library.file_name();
        let name = name.ok_or_else(|| Error::new(format!("`{}` is no file", library.display())))?;
        let number = self.copies.fetch_add(1, Ordering::Relaxed).to_string();
        let folder = self.home.path().join("libraries").join(number);
        fs::create_dir(&folder)?;
        let copy = folder.join(name);
        let copied = fs::copy(library, &copy);
        copied.map_err(|error| Error::new(format!("copy `{}`: {error}", library.display())))?;
        if !more.is_empty() {
            fs::OpenOptions::new().append(true).open(&copy)?.write_all(more)?;
        }
        let path = copy.to_string_lossy();
        let answer = self.ask_control("POST", "/", path.as_bytes())?;
        let json = answer.json()?;
        if answer.status != 200 {
            return Err(self.with_log(Error::refused(&json)));
        }
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let notes = json["notes"].as_array().into_iter().flatten();
        let note = |note: &Value| note.as_str().map_or_else(|| note.to_string(), str::to_owned);
        Ok(Deployed {
            plugin: text("plugin"),
            label: text("label"),
            generation: json["generation"].as_u64().unwrap_or_default(),
            notes: notes.map(note).collect(),
            library: library.to_owned(),
        })
    }

    /// The host's status, as `/v1/status` gives it.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub fn status(&self) -> Result<Value> {
        self.ask_control("GET", "/v1/status", b"")?.json()
    }

    /// Waits until every version that has left the traffic has left the memory as well.
    ///
    /// # Errors
    /// Where one stays, or still goes when the patience is at its end: with what the host says of it.
    pub fn wait_unloaded(&self) -> Result<()> {
        let end = Instant::now() + self.patience;
        loop {
            let status = self.status()?;
            let retired = status["retired"].as_array().into_iter().flatten();
            let left: Vec<_> = retired.filter(|it| it["life"] != "unloaded").collect();
            if left.is_empty() && status["resident_count"].as_u64() == Some(0) {
                return Ok(());
            }
            let stays = left.iter().any(|it| it["life"] == "resident");
            if stays || Instant::now() > end {
                let left: Vec<_> = left.iter().map(ToString::to_string).collect();
                let what = if stays { "stays in memory" } else { "has not left the memory yet" };
                return Err(self.with_log(Error::new(format!("{what}: {}", left.join(", ")))));
            }
            // The host tells by asking alone when the last one has gone.
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Has it stop in good order, and waits for its end.
    ///
    /// # Errors
    /// Where it does not end within the patience; it is then killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.stop(self.patience)
    }

    fn ask_control(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let request = RequestBuilder::new(self.control(), method, path, self.patience);
        let answer = request.header("accept", "application/json").body(body).send();
        answer.map_err(|error| self.with_log(error))
    }

    fn with_log(&self, error: Error) -> Error {
        error.with(&self.process.log_end())
    }
}
