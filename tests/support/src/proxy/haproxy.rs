//! HAProxy, and what it says of its servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{Backend, Running, recommended, replaced};
use crate::{address::free_address, eventually, patience::breathe, tool::tool_or_skip};

/// Between two looks of a [`Watch`].
const LOOK: Duration = Duration::from_millis(10);

/// HAProxy in front of three hosts: `one`, `two`, `three`.
#[derive(Debug)]
pub struct Haproxy {
    running: Running,
}

impl Haproxy {
    /// Starts it and waits until it finds all hosts ready; `None` where it is not installed, which
    /// was said.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(backends: &[Backend; 3]) -> Option<Self> {
        let program = tool_or_skip("haproxy", "haproxy")?;
        let home = tempfile::Builder::new().prefix("haproxy-").tempdir().expect("a folder");
        let address = free_address();
        let socket = home.path().join("s").display().to_string();
        let mut text = recommended("haproxy.cfg");
        text = replaced(&text, "127.0.0.1:8000", &address.to_string());
        text = replaced(&text, "/run/haproxy/hotseat.sock", &socket);
        text = replaced(&text, "inter 2s", "inter 100ms");
        text = replaced(&text, "pool-purge-delay 5s", "pool-purge-delay 100ms");
        // Descriptors are scarcer here.
        text = replaced(&text, "maxconn 10000", "maxconn 1000");
        for (number, backend) in (1..).zip(backends) {
            let from = format!("127.0.0.1:808{number} port 818{number}");
            let Backend { data, health } = backend;
            let to = format!("{data} addr {} port {}", health.ip(), health.port());
            text = replaced(&text, &from, &to);
        }
        let mut command = Command::new(program);
        command.args(["-db", "-f"]);
        let it = Self { running: Running::start(command, home, &text, address) };
        eventually!(
            it.states().values().filter(|state| *state == "UP").count() == backends.len(),
            "all hosts up: {:?}",
            it.states()
        );
        Some(it)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// What it finds of each host: `UP`, `NOLB` (no new requests), `DOWN`, and on the way from
    /// one to another `UP 1/2`.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, String> {
        ask(&self.running.file("s")).unwrap_or_default()
    }

    /// Waits until it finds this of a host.
    ///
    /// # Panics
    /// When it does not within patience.
    #[track_caller]
    pub fn wait_state(&self, server: &str, state: &str) {
        eventually!(
            self.states().get(server).is_some_and(|it| it == state),
            "`{server}` {state}: {:?}",
            self.states()
        );
    }

    /// Looks all the time from now on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (list, end, socket) = (seen.clone(), ended.clone(), self.running.file("s"));
        let thread = std::thread::spawn(move || {
            while !end.load(SeqCst) {
                let states = ask(&socket).unwrap_or_default();
                list.lock().unwrap_or_else(PoisonError::into_inner).extend(states);
                breathe(LOOK);
            }
        });
        Watch { seen, ended, thread: Some(thread) }
    }
}

/// What HAProxy has found of its hosts meanwhile.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<BTreeSet<(String, String)>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Whether it found this of a host at any time.
    #[must_use]
    pub fn saw(&self, server: &str, state: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|(name, it)| name == server && it.split(' ').next() == Some(state))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// # Source: HAProxy management guide, "show stat".
fn ask(socket: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut stream = UnixStream::connect(PathBuf::from(socket))?;
    stream.write_all(b"show stat\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let servers = rows.filter(|row| row.first() == Some(&"hosts"));
    let states = servers.filter_map(|row| {
        let (name, state) = (*row.get(1)?, *row.get(17)?);
        (name != "BACKEND").then(|| (name.to_owned(), state.to_owned()))
    });
    Ok(states.collect())
}
