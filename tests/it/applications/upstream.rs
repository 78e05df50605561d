//! `upstream` and the server that it asks, which here is the test itself: it takes each connection, sees
//! what has come and answers when it wants to.

use hotseat_test_support::{Answer, Builder, Connection, Host, host, plugin};

mod bodies;
mod failures;
mod origin;
mod passed;
mod settings;
mod swaps;

use origin::Origin;

/// Its table begins on the fourth line: `url` is on the fifth.
fn file(url: &str, lines: &str) -> String {
    format!("[limits]\nsoak_time = \"50ms\"\n\n[plugin.upstream]\nurl = \"{url}\"\n{lines}\n")
}

#[track_caller]
fn start(url: &str, lines: &str) -> Host {
    start_with(host!().config(&file(url, lines)))
}

#[track_caller]
fn start_with(builder: Builder) -> Host {
    let host = builder.start();
    host.deploy(&plugin("upstream"), "libupstream_v1.so").swapped();
    host
}

/// A request on a connection of its own; the answer is still to be read.
#[track_caller]
fn send(host: &Host, method: &str, extra: &str) -> Connection {
    let mut client = host.connect();
    client.send_request(method, "/upstream/x", extra).unwrap();
    client
}

/// How often the upstream was asked, as the plugin has counted it.
#[track_caller]
fn tries(host: &Host) -> usize {
    let page = host.control().get("/metrics").text();
    let counts = page.lines().filter(|line| line.starts_with("plugin_upstream_tries_total{"));
    let counts = counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    // They are whole.
    counts.map(|count| (0..).take_while(|it| f64::from(*it) < count).count()).sum()
}

/// It is the plugin's own answer, as JSON with this code.
#[track_caller]
fn assert_told(answer: &Answer, status: u16, code: &str) {
    answer.assert_status(status);
    assert_eq!(answer.error_code(), None, "the host's own: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["error"]["code"], code, "{}", answer.text());
}
