//! What the operator sees of cells, and does with them.

use hotseat_test_support::Host;

use super::{builder, count, set};

/// What `hotseat cells ARGS` prints on both streams, and its exit code.
#[track_caller]
fn cells(host: &Host, args: &[&str]) -> (Option<i32>, String) {
    let control = host.control().address.to_string();
    let mut command = host.command();
    command.arg("cells").args(args).args(["--control", &control]);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn cells_are_listed_shown_and_removed() {
    let host = builder().start();
    assert_eq!(cells(&host, &[]), (Some(0), "no plugin has cells\n".to_owned()));
    set(&host, "a", "plain text");
    set(&host, "b%20c", "x");
    count(&host);
    let (code, text) = cells(&host, &[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("handler  3      24 B  in memory"), "{text}");
    let (_, text) = cells(&host, &["handler"]);
    assert!(text.contains("\na ") && text.contains("10 B"), "{text}");
    assert_eq!(cells(&host, &["handler", "a"]), (Some(0), "plain text\n".to_owned()));
    assert_eq!(cells(&host, &["handler", "b%20c"]), (Some(0), "x\n".to_owned()));
    let (code, text) = cells(&host, &["handler", "none"]);
    assert!(code == Some(2) && text.contains("`handler` has no cell `none`"), "{text}");
    let (_, json) = cells(&host, &["handler", "a", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["key"], &json["text"]), (&"a".into(), &"plain text".into()));
    let removed = cells(&host, &["handler", "a", "--remove"]);
    assert_eq!(removed, (Some(0), "1 cell of handler removed\n".to_owned()));
    host.get("/a").assert_status(404);
    // The plugin may be gone for good.
    host.control().unload("handler").assert_status(200);
    let removed = cells(&host, &["handler", "--remove"]);
    assert_eq!(removed, (Some(0), "2 cells of handler removed\n".to_owned()));
    assert_eq!(cells(&host, &["handler", "--remove"]).0, Some(2));
    assert_eq!(cells(&host, &["--remove"]).0, Some(64));
    host.assert_logged("cells are removed by hand");
}

#[test]
fn status_and_metrics_have_figures() {
    let host = builder().start();
    set(&host, "key", "12345");
    let kept = &host.status()["cells"][0];
    assert_eq!((&kept["plugin"], &kept["count"]), (&"handler".into(), &1.into()), "{kept}");
    assert_eq!((&kept["bytes"], &kept["on_disk"]), (&8.into(), &false.into()), "{kept}");
    let page = host.control().get("/metrics").assert_status(200).text();
    for line in ["hotseat_cells{plugin=\"handler\"} 1", "hotseat_cells_bytes{plugin=\"handler\"} 8"]
    {
        assert!(page.lines().any(|it| it == line), "{line}");
    }
    host.control().get("/").assert_contains("cells: handler has 1, 8 B");
}
