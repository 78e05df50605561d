//! nginx.

use std::{net::SocketAddr, process::Command};

use super::{Backend, Running, recommended, replaced};
use crate::{address::free_address, tool::tool_or_skip};

/// nginx in front of three hosts.
#[derive(Debug)]
pub struct Nginx {
    running: Running,
}

impl Nginx {
    /// Starts it; `None` where it is not installed, which was said.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(backends: &[Backend; 3]) -> Option<Self> {
        let program = tool_or_skip("nginx", "nginx-light")?;
        let home = tempfile::Builder::new().prefix("nginx-").tempdir().expect("a folder");
        let address = free_address();
        let folder = home.path().display().to_string();
        let mut text = recommended("nginx.conf");
        text = replaced(&text, "127.0.0.1:8000", &address.to_string());
        text = replaced(&text, "/run/nginx-hotseat.pid", &format!("{folder}/pid"));
        text = replaced(&text, "keepalive_timeout 4s", "keepalive_timeout 200ms");
        for (number, backend) in (1..).zip(backends) {
            let from = format!("127.0.0.1:808{number}");
            text = replaced(&text, &from, &backend.data.to_string());
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
            .collect();
        text = replaced(&text, "http {\n", &format!("http {{\n{temporary}"));
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-g", "daemon off;", "-p", &folder, "-c"]);
        // Its workers run as another user, who writes bodies there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path(), open).expect("open the folder");
        Some(Self { running: Running::start(command, home, &text, address) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// What it logged: upstream errors stand there.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log()
    }
}
