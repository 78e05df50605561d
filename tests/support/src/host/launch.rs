//! In which surroundings a host is started: service manager, inherited sockets, process ids.
//!
//! Owns the words around the binary. Everything is the child's own: this process's variables and
//! descriptors stay as they are.

use std::{
    ffi::OsString,
    net::TcpListener,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// From here on numbers of descriptors are free in a shell that has just started.
const HIGH: i32 = 200;

/// Moves descriptors to 3, 4, .., says so as systemd does, and becomes the command.
const ADOPT: &str = "\
count=0; while [ \"$1\" != -- ]; do eval \"exec $((3 + count))<&$1 $1<&-\"; count=$((count + 1)); \
shift; done; shift; export LISTEN_FDS=$count LISTEN_PID=${HOTSEAT_TEST_LISTEN_PID:-$$}; \
unset HOTSEAT_TEST_LISTEN_PID; exec \"$@\"";

/// Surroundings.
#[derive(Clone, Debug, Default)]
pub(super) struct Launch {
    /// A command that runs the command behind it, as `unshare` does.
    pub(super) through: Vec<OsString>,
    pub(super) sockets: Vec<(String, Arc<OwnedFd>)>,
    pub(super) listen_pid: Option<u32>,
}

/// What must live until the child was started.
#[derive(Debug)]
pub(super) struct Lent(#[expect(dead_code, reason = "closed when it is dropped")] Vec<OwnedFd>);

impl Launch {
    /// The command that becomes `binary` in these surroundings; arguments can be added.
    pub(super) fn command(&self, binary: &Path, home: &Path) -> (Command, Lent) {
        let mut words: Vec<OsString> = self.through.clone();
        let mut lent = Vec::new();
        if !self.sockets.is_empty() {
            words.extend(["bash", "-c", ADOPT, "bash"].map(OsString::from));
            for (_, socket) in &self.sockets {
                // A child that another thread starts at this very moment has it too: harmless in
                // a test that starts one host.
                let high = fcntl_dupfd_cloexec(socket, HIGH).expect("copy a descriptor");
                fcntl_setfd(&high, FdFlags::empty()).expect("let it pass to the child");
                words.push(high.as_raw_fd().to_string().into());
                lent.push(high);
            }
            words.push("--".into());
        }
        words.push(binary.into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(home).stdin(Stdio::null());
        for name in ["STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        if !self.sockets.is_empty() {
            let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDNAMES", names.join(":"));
        }
        if let Some(pid) = self.listen_pid {
            command.env("HOTSEAT_TEST_LISTEN_PID", pid.to_string());
        }
        (command, Lent(lent))
    }
}

/// A listener that a host may inherit: the test keeps it too, as a service manager does.
///
/// # Panics
/// When it cannot listen.
#[must_use]
pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("bind")
}
