//! Plugins that are tower services, and handlers within a runtime of their own: what their authors
//! compare is the same code in a program of its own.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use hotseat_test_support::library::profile_dir;

mod bodies;
mod logs;
mod options;
mod rows;
mod runtime;
mod same;
mod stress;
mod swaps;
mod upgrades;

/// The stock application as a program of its own, which axum serves.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    #[track_caller]
    fn start() -> Self {
        let file = profile_dir().join("stock_app");
        let child = Command::new(&file).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap_or_else(|error| panic!("`{line}`: {error}"));
        Self { child, address }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers without the time of day, and the fields of each head in their order: whoever writes
/// `connection` and the length last differs, and nobody may mind.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<_> = text.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    let mut start = 0;
    while let Some(head) = lines[start..].iter().position(|line| line.contains("HTTP/1.")) {
        let first = start + head + 1;
        let end = lines[first..].iter().position(|line| line.is_empty()).unwrap_or_default();
        lines[first..first + end].sort_unstable();
        start = first + end;
    }
    lines.join("\r\n")
}
