//! Values that come from files and variables, and are seen by nobody but the plugin.

use std::{fs, path::Path};

use hotseat_test_support::{Builder, Host, host};

use super::{config, file, refused, reloaded, says, secret, with_shop};

const PASSWORD: &str = "correct horse \"battery\"";

/// A builder with this password in a file, to which `extra` lines come.
fn builder(extra: &str) -> Builder {
    let builder = host!();
    let path = builder.home().write("secret", format!("{PASSWORD}\n").as_bytes());
    let lines = format!("room = 'env:SHOP_ROOM'\ndb.password = 'file:{}'\n{extra}", path.display());
    builder.config(&file(&lines)).env("SHOP_ROOM", "of the environment")
}

/// Every file below `folder` that has `word` in it.
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

#[track_caller]
fn assert_hidden(host: &Host) {
    // As it is, as a literal, and as far as up to the first character that both differ in.
    for word in [PASSWORD, "correct horse"] {
        for page in ["/", "/v1/status", "/v1/history", "/v1/plugins", "/v1/deploys", "/metrics"] {
            assert!(!host.control().get(page).text().contains(word), "{page}");
        }
        let mut found = Vec::new();
        files_with(&host.home().state(), word, &mut found);
        assert_eq!(found, Vec::<String>::new());
        assert!(!host.home().read_log().contains(word), "{}", host.home().read_log());
    }
}

/// Neither a plugin that serves, nor one that fails by it or repeats it, has it shown anywhere.
#[test]
fn a_secret_stands_nowhere() {
    let host = with_shop(builder("").arg("--log=trace"));
    assert_eq!(says(&host), format!("of the environment [] {PASSWORD}"));
    assert_hidden(&host);
    let path = host.home().path().join("secret").display().to_string();
    // Its own error has it in it.
    let lines = format!("room = 'x'\nlogin = true\ndb.password = 'file:{path}'");
    host.home().rewrite_config(&file(&lines));
    let (code, text) = refused(&host);
    assert_eq!(code, "new_failed");
    assert!(text.contains("nobody logs in with (secret) or \"(secret)\""), "{text}");
    // It is of the wrong type.
    host.home().rewrite_config(&file(&format!("room = 'x'\ndb.pool = ['file:{path}']")));
    let (_, text) = refused(&host);
    assert!(text.contains("[plugin.shop] db.pool[0]: invalid type: a secret text"), "{text}");
    assert!(text.contains(":5: "), "{text}");
    assert_hidden(&host);
    assert_eq!(says(&host), format!("of the environment [] {PASSWORD}"));
}

/// Another value in the file is a change of the settings; a deploy reads it as well.
#[test]
fn a_value_that_was_renewed_is_taken_by_a_reload_and_by_a_deploy() {
    let host = with_shop(builder(""));
    let before = config(&host);
    secret(&host, "renewed\r\n");
    let answer = reloaded(&host);
    assert_eq!(answer["deployed"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(says(&host), "of the environment [] renewed");
    assert_ne!(config(&host), before);
    assert_eq!(reloaded(&host)["deployed"].as_array().unwrap().len(), 0);
    secret(&host, "again");
    let path = host.home().path().join("libshop_v1.so");
    let force = serde_json::json!({ "path": path, "force": true });
    host.control().post_json("/v1/deploys", &force).assert_status(200);
    assert_eq!(says(&host), "of the environment [] again");
    assert_eq!(reloaded(&host)["deployed"].as_array().unwrap().len(), 0);
}
