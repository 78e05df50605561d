//! What a plugin and its dependencies say by `tracing`, `log` and printing is in the host's log, with
//! all that is known of it.

use hotseat_test_support::{Builder, Host, eventually, fault, host};
use serde_json::{Map, Value, json};

/// The first record with this message, once it is there.
#[track_caller]
fn record(host: &Host, message: &str) -> Map<String, Value> {
    let find = || {
        let log = host.home().read_log();
        let whole = log.lines().take(log.matches('\n').count());
        let mut records =
            whole.map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
        records.find(|it| it["message"] == message)
    };
    eventually!(find().is_some(), "`{message}` in\n{}", host.log_end());
    find().unwrap()
}

#[track_caller]
fn start(builder: Builder, plugin: &str) -> Host {
    // Of one thread, whose requests are numbered one by one.
    builder
        .arg("--threads=1")
        .arg("--log-format=json")
        .with(fault(plugin), "libnotes_v1.so")
        .start()
}

/// Asks for `path` and gives the request's number.
#[track_caller]
fn ask(host: &Host, path: &str) -> u64 {
    host.get(&format!("/notes{path}")).assert_status(200);
    // The next one.
    host.get("/notes/context").text().parse::<u64>().unwrap() - 1
}

/// Values keep their types, spans their order, and what comes later is there.
#[test]
fn an_event_has_its_fields_and_spans() {
    let host = start(host!(), "logs");
    let number = ask(&host, "/events");
    let record = record(&host, "saved 2 rows");
    let fields = json!({
        "count": 3, "offset": -4, "share": 0.5, "open": true, "shape": "Shape { _sides: 3 }",
        "text": "it \"is\"", "error": "no disk",
    });
    let spans = json!([
        { "name": "outer", "user": 7, "note": "a b" },
        { "name": "inner", "late": 1.5 },
    ]);
    for (name, value) in [
        ("level", json!("WARN")),
        ("target", json!("plugin")),
        ("plugin", json!("notes")),
        ("generation", json!(1)),
        ("request", json!(number)),
        ("module", json!("notes::db")),
        ("fields", fields),
        ("spans", spans),
    ] {
        assert_eq!(record[name], value, "{name}: {record:?}");
    }
}

/// Each by what it belongs to.
#[test]
fn a_line_has_its_request() {
    let host = start(host!(), "logs");
    let number = ask(&host, "/tasks");
    assert_eq!(record(&host, "in a span")["request"], number);
    assert!(!record(&host, "in none").contains_key("request"));
    let number = ask(&host, "/body");
    let piece = record(&host, "a piece");
    assert_eq!((&piece["request"], &piece["fields"]), (&json!(number), &json!({ "number": 0 })));
    let told = record(&host, "by the context");
    assert_eq!(told["fields"], json!({ "x": "1" }));
    assert!(told["request"].is_u64(), "{told:?}");
    assert!(!record(&host, "made").contains_key("request"));
}

/// A span of another subscriber is nobody here, and one that is never left harms nobody.
#[test]
fn foreign_spans_and_kept_ones_harm_nobody() {
    let host = start(host!(), "logs");
    let worker = host.worker_pid();
    ask(&host, "/foreign");
    assert!(!record(&host, "of a foreign span").contains_key("spans"));
    let below = record(&host, "below a foreign span");
    assert_eq!(below["spans"], json!([{ "name": "ours" }]));
    let kept = record(&host, "in what was left");
    assert_eq!(kept["spans"], json!([{ "name": "kept" }]));
    ask(&host, "/events");
    record(&host, "saved 2 rows");
    assert_eq!(host.worker_pid(), worker);
    // The version still goes.
    host.deploy(&fault("own_subscriber"), "libnotes_v2.so").swapped();
    host.assert_all_unloaded("logs");
}

/// Records of the `log` crate, with their values and the spans around them.
#[test]
fn a_record_has_its_fields_and_spans() {
    let host = start(host!(), "logs");
    let number = ask(&host, "/records");
    let record = record(&host, "was here");
    for (name, value) in [
        ("level", json!("INFO")),
        ("module", json!("old::dependency")),
        ("request", json!(number)),
        ("fields", json!({ "user": "ann", "size": 4 })),
        ("spans", json!([{ "name": "around" }])),
    ] {
        assert_eq!(record[name], value, "{name}: {record:?}");
    }
}

/// A plugin has levels of its own, by module, whatever the host's are.
#[test]
fn levels_are_the_plugins_own() {
    let config = "[plugin.notes]\nlog = 'warn,notes::db=debug'\n";
    let host = start(host!().config(config), "logs");
    ask(&host, "/records");
    ask(&host, "/events");
    record(&host, "deep");
    let log = host.home().read_log();
    for (text, is_there) in [("saved 2 rows", true), ("was here", false), ("deep record", false)] {
        assert_eq!(log.contains(text), is_there, "{text}\n{log}");
    }
    assert!(!log.contains("deeper"), "{log}");
    // A lower level than the host's, which goes on as it did.
    let config = "[plugin.notes]\nlog = 'error'\n";
    let host = start(host!().config(config).arg("--log=debug"), "logs");
    ask(&host, "/events");
    assert!(!host.home().read_log().contains("saved 2 rows"));
}

/// What is printed has its plugin and generation, and pieces of several threads do not mix.
#[test]
fn prints_are_attributed() {
    let host = start(host!(), "logs");
    ask(&host, "/prints");
    for (text, stream) in [
        ("printed in new", "stdout"),
        ("printed in two pieces", "stdout"),
        ("printed just as an error", "stderr"),
        ("printed by thread 1", "stdout"),
        ("printed by thread 2", "stdout"),
    ] {
        let record = record(&host, text);
        let whose = (&record["plugin"], &record["generation"], &record["stream"]);
        assert_eq!(whose, (&json!("notes"), &json!(1), &json!(stream)), "{record:?}");
    }
    let host = host!().with(fault("logs"), "libnotes_v1.so").start();
    ask(&host, "/prints");
    host.assert_logged("printed{plugin=\"notes\" generation=1}: printed in two pieces\n");
    ask(&host, "/events");
    let text =
        "outer{user=7 note=\"a b\"}:inner{late=1.5}: saved 2 rows count=3 offset=-4 share=0.5";
    host.assert_logged(text);
}

/// An author's own subscriber takes the place of the host's, and what came before it is not lost.
#[test]
fn an_authors_own_subscriber_wins() {
    let host = start(host!(), "own_subscriber");
    host.get("/notes/").assert_status(200);
    let before = record(&host, "before it");
    assert_eq!(before["target"], "plugin");
    let find = |text: &str| {
        host.home().read_log().lines().any(|it| it.contains(text) && it.contains("stdout"))
    };
    eventually!(find("an event"), "{}", host.log_end());
    assert!(!host.home().read_log().contains("\"message\":\"an event\""));
    // Only events were asked for.
    assert_eq!(record(&host, "a record")["request"], 1);
}

/// A logger of the author's own takes the place of the host's for the `log` crate.
#[test]
fn an_authors_own_logger_wins() {
    let host = start(host!(), "own_logger");
    host.get("/notes/").assert_status(200);
    assert_eq!(record(&host, "own: a record")["stream"], "stdout");
    assert_eq!(record(&host, "an event")["target"], "plugin");
    assert!(!host.home().read_log().contains("\"message\":\"a record\""));
}

/// There is no logger yet while the application is made: what `log`'s macros say then is lost, and what
/// `tracing` says is not.
#[test]
fn records_of_the_making_are_lost() {
    let host = start(host!(), "logs");
    ask(&host, "/records");
    record(&host, "was here");
    record(&host, "made");
    assert!(!host.home().read_log().contains("a record of whoever makes it"));
}

/// A layer of tower-http tells of each request, in its span.
#[test]
fn a_trace_layer_tells_of_requests() {
    let config = "[plugin.notes]\nlog = 'tower_http=debug'\n";
    let host = start(host!().config(config), "stock_app");
    host.get("/notes/path/17/a?b").assert_status(200);
    let begun = record(&host, "started processing request");
    let over = record(&host, "finished processing request");
    for record in [&begun, &over] {
        assert_eq!(record["spans"][0]["name"], "request", "{record:?}");
        assert_eq!(record["spans"][0]["uri"], "/path/17/a?b", "{record:?}");
        assert_eq!((&record["request"], &record["plugin"]), (&json!(1), &json!("notes")));
    }
    assert_eq!(over["fields"]["status"], 200, "{over:?}");
}

/// Levels change while the plugin serves, and it is not deployed anew for them.
#[test]
fn levels_are_changed_live() {
    let builder = crate::hooks::quick(host!()).config("[plugin.notes]\nlog = 'error'\n");
    let host = start(builder, "logs");
    ask(&host, "/events");
    host.home().write("hotseat.toml", b"[plugin.notes]\nlog = 'warn,notes::db=debug'\n");
    let answer = host.control().post_json("/v1/reload-config", &json!({}));
    answer.assert_status(200);
    assert_eq!(answer.json()["deployed"], json!([]), "{}", answer.text());
    assert!(!host.home().read_log().contains("saved 2 rows"), "it was not heard before");
    ask(&host, "/events");
    record(&host, "deep");
    assert_eq!(host.active("notes"), 1);
    // Also in the next worker.
    let before = host.worker_pid();
    host.upgrade(&[]).assert_code(0);
    eventually!(host.worker_pid() != before, "the next worker");
    ask(&host, "/events");
    let heard = || host.home().read_log().matches("\"message\":\"deep\"").count();
    eventually!(heard() == 2, "{}", host.log_end());
}
