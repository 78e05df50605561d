//! A worker ends unasked: the listeners stay, another one serves, and whoever is to blame goes.

use std::path::PathBuf;

use hotseat_test_support::{
    Builder, Connection, Host, binary as binaries, eventually, fault, host, library, wire,
};
use serde_json::Value;

mod backoff;
mod binary;
mod blame;
mod chains;
mod cold;
mod ends;
mod killed;
mod orphans;

/// A host whose generations are withdrawn after their first crash.
fn strict() -> Builder {
    host!().arg("--crash-count=1").arg("--crash-window=5min")
}

/// `handler` v1 answers `v1`; v2, the second generation, is the `crash` plugin.
fn crash_host() -> Host {
    let host = strict().with(fault("plain_v1"), "libhandler_v1.so").start();
    host.deploy(&fault("crash"), "libhandler_v2.so").swapped();
    host
}

/// GET on a connection of its own that may end without an answer.
pub(crate) fn try_get(host: &Host, target: &str) -> Option<String> {
    let answer = Connection::open(host.data()).ok()?.get(target).ok()?;
    (answer.status == 200).then(|| answer.text())
}

/// The status, if the worker that was asked lives long enough.
pub(crate) fn try_status(host: &Host) -> Option<Value> {
    let mut connection = host.control().connect();
    let head = format!("Host: localhost:{}\r\n", host.ready().control.port());
    let head = format!("GET /v1/status HTTP/1.1\r\n{head}Accept: application/json\r\n\r\n");
    connection.send(head).ok()?;
    let answer = connection.read_answer().ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The worker that serves, other than `before`.
#[track_caller]
pub(crate) fn next_worker(host: &Host, before: u32) -> u32 {
    let mut found = 0;
    eventually!(
        {
            found = try_status(host).map_or(0, |status| serving(&status));
            found != 0 && found != before
        },
        "a worker after {before}\n{}",
        host.log_end()
    );
    found
}

fn serving(status: &Value) -> u32 {
    let mut all = wire::list(status, "/processes").into_iter();
    let serving = all.find(|it| it["role"] == "serving");
    serving.map_or(0, |it| u32::try_from(wire::number(&it, "/pid")).unwrap())
}

/// What the status says against `plugin`.
pub(crate) fn warning(status: &Value, plugin: &str) -> String {
    wire::plugin(status, plugin)["warning"].as_str().unwrap_or_default().to_owned()
}

/// One number of `/metrics`.
#[track_caller]
pub(crate) fn metric(host: &Host, line: &str) -> f64 {
    let page = host.control().get("/metrics").assert_status(200).text();
    let found = page.lines().find_map(|it| it.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no `{line}` in\n{page}"))
}

/// The same library with another content.
fn other(name: &str, number: u32) -> Vec<u8> {
    [library::bytes(&fault(name)), number.to_le_bytes().to_vec()].concat()
}

/// From now on no worker of this host comes up while the file exists. There is no binary to go back
/// to that would be better. The host must not soak.
fn make_fragile(host: &Host) -> PathBuf {
    let (binary, flag) = (host.home().path().join("fragile"), host.home().path().join("flag"));
    binaries::fragile(env!("CARGO_BIN_EXE_hotseat").as_ref(), &binary, &flag);
    host.upgrade(&["--wait", "--binary", binary.to_str().unwrap()]).assert_code(0);
    host.upgrade(&["--wait"]).assert_code(0);
    flag
}

/// Waits until workers have ended unasked so often.
#[track_caller]
fn wait_ends(host: &Host, count: usize) {
    let ended = || host.home().read_log().matches("a worker has ended unasked").count();
    eventually!(ended() >= count, "{count} ends\n{}", host.log_end());
}
