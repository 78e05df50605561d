//! What it takes for settings, what it says of others, and how they change.

use std::{fs, path::Path};

use hotseat_test_support::{host, plugin};
use serde_json::json;

use super::{Origin, file, origin::Always, send, start, start_with};

const TOKEN: &str = "correct-horse-battery";

/// With the line of the file, and what it is about.
#[test]
fn wrong_ones_are_refused_by_name_and_line() {
    let url = "http://127.0.0.1:9";
    for (config, says) in [
        ("".to_owned(), "[plugin.upstream]: missing field `url` (there is no such table)"),
        (file("127.0.0.1:9", ""), ":5: [plugin.upstream] url: `127.0.0.1:9` is no URL"),
        (
            file("https://a", ""),
            ":5: [plugin.upstream] url: `https://a` has to begin with `http://`",
        ),
        (
            file("http://a/?b", ""),
            ":5: [plugin.upstream] url: `http://a/?b` may have a host, a port",
        ),
        (file(url, "time = '0s'"), ":6: [plugin.upstream] time: it has to be longer than nothing"),
        (file(url, "time = 2"), ":6: [plugin.upstream] time: invalid type: integer `2`"),
        (
            file(url, "\nbackoff = 'x'"),
            ":7: [plugin.upstream] backoff: `x` is no time such as `2s`",
        ),
        (file(url, "tries = 0"), ":6: [plugin.upstream] tries: invalid value: integer `0`"),
        (file(url, "concurrency = -1"), ":6: [plugin.upstream] concurrency: invalid value"),
        (file(url, "token = \"a\\nb\""), ":6: [plugin.upstream] token: it has characters that no"),
        (file(url, "tokens = ''"), ":6: [plugin.upstream] tokens: unknown field `tokens`"),
    ] {
        let host = host!().config(&config).start();
        let deploy = host.deploy(&plugin("upstream"), "libupstream_v1.so");
        let refused = deploy.assert_refused(422, "new_failed");
        assert!(refused.text.contains(says), "{says}: {}", refused.text);
    }
}

/// Another upstream takes over, and nobody notices.
#[test]
fn a_reload_moves_to_another_upstream() {
    let (one, two) = (Always::new("one"), Always::new("two"));
    let host = start(&one.url(), "tries = 1");
    let traffic = host.traffic("/upstream/x");
    for upstream in [&two, &one, &two] {
        traffic.wait_for(50);
        host.home().rewrite_config(&file(&upstream.url(), "tries = 1"));
        let answer = host.control().post_json("/v1/reload-config", &json!({}));
        answer.assert_status(200);
        assert_eq!(answer.json()["deployed"][0]["plugin"], "upstream", "{}", answer.text());
        // New requests meet it once the answer is there.
        let expected = if upstream.url() == one.url() { "one" } else { "two" };
        assert_eq!(host.get("/upstream/x").text(), expected);
    }
    traffic.wait_for(50);
    let met = traffic.finish();
    assert_eq!(met.keys().collect::<Vec<_>>(), ["one", "two"]);
    host.assert_no_failed_requests();
    host.assert_all_unloaded("settings");
}

fn files_with(folder: &Path, word: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(&path, word, found);
        } else if String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).contains(word) {
            found.push(path.display().to_string());
        }
    }
}

/// Only the upstream sees it, whatever is logged, and whether it answers or not.
#[test]
fn the_token_is_told_to_nobody_else() {
    let origin = Origin::new();
    let builder = host!().arg("--log=trace");
    let secret = builder.home().write("token", format!("{TOKEN}\n").as_bytes());
    let lines = format!("tries = 1\ntoken = 'file:{}'\nlog = 'trace'", secret.display());
    let host = start_with(builder.config(&file(&origin.url(), &lines)));
    let mut client = send(&host, "GET", "");
    let asked = origin.asked();
    assert_eq!(asked.all("authorization"), [format!("Bearer {TOKEN}")]);
    asked.answer("200 OK", "well");
    client.read_answer().unwrap().assert_contains("well");
    let mut client = send(&host, "GET", "");
    drop(origin.asked());
    client.read_answer().unwrap().assert_status(502);
    host.assert_logged("the upstream has failed");
    for page in ["/", "/v1/status", "/v1/history", "/v1/plugins", "/v1/deploys", "/metrics"] {
        assert!(!host.control().get(page).text().contains(TOKEN), "{page}");
    }
    let mut found = Vec::new();
    files_with(&host.home().state(), TOKEN, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(!host.home().read_log().contains(TOKEN), "{}", host.home().read_log());
}
