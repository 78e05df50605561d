//! Hosts under those who start them: systemd's protocol, supervisord, process 1, a pid file.

use std::{net::TcpListener, path::Path};

use hotseat_test_support::{
    Builder, Connection, Host, Notify, eventually, fault, host, host::listener, procfs, supervise,
};
use rustix::process::Signal;

use crate::hooks::quick;

mod manager;
mod pid_file;
mod sockets;
mod starters;

fn whoami(builder: Builder) -> Builder {
    builder.with(fault("whoami"), "libhandler_v1.so")
}

/// The names of a process's variables.
fn variables(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let names = text.split('\0').filter_map(|it| it.split('=').next()).filter(|it| !it.is_empty());
    names.map(str::to_owned).collect()
}

/// Whoever started the master talks to it alone.
#[track_caller]
fn assert_private(names: &[String]) {
    let ours = ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
    let leaked: Vec<_> = names
        .iter()
        .filter(|name| ours.contains(&name.as_str()) || name.as_str() == "HOTSEAT_MASTER_FD")
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(names.iter().any(|name| name == "PATH"), "the rest is there: {names:?}");
}
