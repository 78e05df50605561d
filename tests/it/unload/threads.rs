//! Threads that only the crossing's own mark attributes, and such as the host does not see at all.

use std::io;

use hotseat_test_support::{Answer, Gate, Host, fault, library, start_host};

use super::kept_or_gone;

/// What the client does, so that the plugin comes to a crossing.
type Client = fn(&Host);

/// One request, answered with anything.
fn asks(host: &Host) {
    ask(host, "").unwrap();
}

fn ask(host: &Host, extra: &str) -> io::Result<Answer> {
    let mut connection = host.connect();
    connection.send_request("GET", "/", extra)?;
    connection.read_answer()
}

fn upgrades(host: &Host) {
    let mut connection = host.connect();
    connection.send_request("GET", "/", "Connection: upgrade\r\nUpgrade: nothing\r\n").unwrap();
    connection.read_head().unwrap().assert_status(101);
    connection.wait_closed().unwrap();
}

/// To another protocol than the one that is answered: the host refuses, and frees what it has.
fn upgrades_to_nothing(host: &Host) {
    ask(host, "").unwrap().assert_status(500);
}

/// Goes while its handler waits.
fn leaves_a_call(host: &Host) {
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    super::wait_held(host);
    connection.reset().unwrap();
}

/// Goes while its answer is on the way.
fn leaves_a_body(host: &Host) {
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    connection.read_head().unwrap().assert_status(200);
    connection.reset().unwrap();
}

/// Brings its body once the handler waits for it.
fn brings_its_body_late(host: &Host) {
    let mut connection = host.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").unwrap();
    super::wait_held(host);
    connection.send("x").unwrap();
    connection.read_answer().unwrap().assert_contains("lent");
}

/// Is answered before it has brought its body, and goes.
fn brings_no_body(host: &Host) {
    let mut connection = host.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").unwrap();
    connection.read_answer().unwrap().assert_contains("lent");
    connection.reset().unwrap();
}

/// Every way into a plugin, by the name that the plugin knows it by.
const CROSSINGS: [(&str, Client); 20] = [
    ("new", asks),
    ("call", asks),
    ("poll", asks),
    ("future_drop", leaves_a_call),
    ("header_free", asks),
    ("bytes_free", asks),
    ("piece_free", asks),
    ("body_poll", asks),
    ("body_drop", leaves_a_body),
    ("trailers_free", asks),
    ("upgrade_free", upgrades_to_nothing),
    ("converse", upgrades),
    ("waker_drop", brings_no_body),
    ("wake", brings_its_body_late),
    ("job", asks),
    ("thread_local", asks),
    ("key", asks),
    ("drain", asks),
    ("stop", asks),
    ("drop", asks),
];

/// A thread that a foreign library starts for a plugin (C++'s begin in libstdc++) is the plugin's
/// wherever it is started: in a handler, or where the host frees what the plugin made.
///
/// Method: one version for each crossing; after its request the next one takes the seat, and it
/// must not go while its thread is there.
#[test]
fn a_thread_of_a_foreign_library_counts_at_every_crossing() {
    let host = start_host!(fault("plain_v1"), "libhandler_v1.so");
    let bytes = library::bytes(&fault("foreign_threads"));
    let offer = |number: usize, label: &str| {
        let bytes = [&bytes[..], &number.to_le_bytes()].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{label}.so")).swapped().generation
    };
    let mut wrong = Vec::new();
    for (number, (crossing, client)) in CROSSINGS.into_iter().enumerate() {
        let generation = offer(number, &format!("{number}.{crossing}"));
        client(&host);
        offer(100 + number, &format!("{number}"));
        let found = kept_or_gone(&host, generation, "left behind");
        if !found.contains("1 thread left behind") {
            wrong.push(format!("{crossing}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A thread that the host does not see keeps its library all the same while it has a thread-local
/// destructor to run there; it goes when that has run.
#[test]
fn a_destructor_on_an_unseen_thread_keeps_its_library() {
    let host = start_host!(fault("unseen_thread"), "libhandler_v1.so");
    let gate = Gate::new();
    host.get(&format!("/?{}", gate.query())).assert_status(200);
    let waiting = gate.entered();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    // Its own, and that which empties the thread's blocks at hand.
    let reason = "2 thread-local destructors on threads that are not the host's";
    let found = kept_or_gone(&host, 1, reason);
    assert!(found.contains(reason), "{found}");
    assert_eq!(host.loaded().len(), 2, "{:?}", host.loaded());
    waiting.release();
    events.wait_generation(1, "unloaded");
    host.get("/").assert_contains("v2");
}
