//! Settings that change while the host serves: all of them, or none.

use hotseat_test_support::{eventually, fault, host};
use serde_json::json;

use super::{config, file, named, refused, reload, reloaded, says, shop, with_shop};

/// New settings take the seat like a new version: nobody in flight fails, and new requests meet them
/// once the answer is there.
#[test]
fn a_reload_under_load_fails_nobody() {
    let host = shop("room = 'one'");
    let (before, generation) = (config(&host), host.active("shop"));
    let traffic = host.traffic("/shop");
    traffic.wait_for(50);
    for room in ["two", "three", "four"] {
        host.home().rewrite_config(&file(&format!("room = '{room}'")));
        let answer = reloaded(&host);
        assert_eq!(answer["deployed"][0]["plugin"], "shop", "{answer}");
        assert_eq!(says(&host), format!("{room} [] "));
        traffic.wait_for(50);
    }
    let met = traffic.finish();
    assert_eq!(met.keys().collect::<Vec<_>>(), ["four [] ", "one [] ", "three [] ", "two [] "]);
    host.assert_no_failed_requests();
    assert!(host.active("shop") > generation);
    let now = config(&host);
    assert!(now.is_string() && before.is_string() && now != before, "{before} {now}");
    let history = host.control().history();
    let of =
        |verb: &str| history.iter().filter(|it| it["verb"] == verb).cloned().collect::<Vec<_>>();
    let deploys: Vec<_> = of("deploy").iter().map(|it| it["source"].clone()).collect();
    assert_eq!(deploys, ["reload", "reload", "reload", "control"]);
    assert_eq!(of("reload")[0]["outcome"], "reloaded");
    host.assert_all_unloaded("settings");
}

#[test]
fn nothing_changed_is_said_and_so_is_what_an_upgrade_is_needed_for() {
    let host = shop("room = 'one'");
    let generation = host.active("shop");
    let answer = reloaded(&host);
    assert_eq!((&answer["deployed"], &answer["unchanged"]), (&json!([]), &json!(["shop"])));
    // Other lines, and the same settings.
    let text = file("\n\nroom = \"one\"").replace("50ms", "60ms");
    let text = format!("lame_status = 404\n{text}[[mount]]\nprefix = '/x'\nplugin = 'x'\n");
    host.home().rewrite_config(&text);
    let answer = reloaded(&host);
    let later = json!(["lame_status", "limits.soak_time", "mount"]);
    assert_eq!((&answer["deployed"], &answer["needs_upgrade"]), (&json!([]), &later));
    assert_eq!(host.active("shop"), generation);
    let control = host.control().address.to_string();
    let told = host.command().args(["reload-config", "--control", &control]).output().unwrap();
    assert!(told.status.success());
    let text = String::from_utf8(told.stdout).unwrap();
    for line in [
        "shop: its settings are the same",
        "nothing has changed for what is in traffic",
        "limits.soak_time: needs an upgrade (`hotseat upgrade`, or kill -HUP)",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
}

/// What the host itself goes by for a plugin is in force without a deploy, and said; so is a table that
/// nobody is given, as one with a name that is mistyped.
#[test]
fn what_is_not_a_plugins_own_is_told_as_well() {
    let host = shop("room = 'one'");
    let generation = host.active("shop");
    host.home().rewrite_config(&file("room = 'one'\nlog = 'shop=debug'\n[plugin.shopp]"));
    let answer = reloaded(&host);
    assert_eq!((&answer["ruled"], &answer["unknown"]), (&json!(["shop"]), &json!(["shopp"])));
    assert_eq!(answer["deployed"], json!([]));
    assert_eq!(host.active("shop"), generation);
    let text = answer["text"].as_str().unwrap();
    for line in [
        "shop: `log` and `memory_max` are in force as they are now",
        "[plugin.shopp] is given to nobody: no plugin `shopp` is loaded \
         (`hotseat status` lists the names)",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    assert!(!text.contains("nothing has changed"), "{text}");
    assert_eq!(host.control().history()[0]["outcome"], "reloaded");
    assert_eq!(reloaded(&host)["ruled"], json!([]));
    let deployed = host.deploy(&fault("plain_v1"), "libother_v1.so");
    let text = deployed.answer.text();
    let note = "there is no [plugin.other], and nobody is given [plugin.shopp]";
    assert!(text.contains(note), "{text}");
}

/// Of two plugins one does not take its settings: neither gets them, and a file that is wrong says
/// where.
#[test]
fn a_reload_is_all_or_nothing() {
    let tables = |shop: &str, other: &str| {
        format!("[plugin.other]\nroom = {other}\n{}", file(&format!("room = {shop}")))
    };
    let host = with_shop(host!().config(&tables("'one'", "'one'")));
    host.deploy(&fault("configured"), "libother_v1.so").swapped();
    let generations = || (host.active("shop"), host.active("other"));
    let before = generations();
    for (text, code, says) in [
        (tables("7", "'two'"), "new_failed", "[plugin.shop] room: invalid type"),
        (tables("'two'", "7"), "new_failed", "[plugin.other] room: invalid type"),
        (tables("'env:NOBODY_SETS_IT'", "'two'"), "secret_unreadable", "`NOBODY_SETS_IT`"),
        (
            tables("'two'", "'two"),
            "config_invalid",
            " is wrong at line 2, column 12: room: invalid literal string",
        ),
        (
            format!("colour = 1\n{}", file("room = 'two'")),
            "config_invalid",
            "unknown field `colour`",
        ),
    ] {
        host.home().rewrite_config(&text);
        let (found, message) = refused(&host);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(says), "{says}: {message}");
        assert!(message.contains(&named(&host)), "{message}");
        assert!(!message.contains("\\n"), "no line end that is written out: {message}");
        assert_eq!((says_of(&host, "shop"), says_of(&host, "other")), both("one"));
        assert_eq!(generations(), before);
    }
    // What was refused is not what a later deploy goes by.
    let path = host.home().path().join("libshop_v1.so");
    let force = json!({ "path": path, "force": true });
    host.control().post_json("/v1/deploys", &force).assert_status(200);
    assert_eq!(says(&host), "one [] ");
    host.home().rewrite_config(&tables("'two'", "'two'"));
    let answer = reloaded(&host);
    assert_eq!(answer["deployed"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!((says_of(&host, "shop"), says_of(&host, "other")), both("two"));
    // A file that is gone is no file without tables.
    std::fs::remove_file(host.home().path().join("hotseat.toml")).unwrap();
    assert_eq!(refused(&host).0, "config_unreadable");
    host.assert_no_failed_requests();
}

fn both(room: &str) -> (String, String) {
    (format!("{room} [] "), format!("{room} [] "))
}

fn says_of(host: &hotseat_test_support::Host, plugin: &str) -> String {
    host.get(&format!("/{plugin}")).text()
}

/// Later deploys go by the new tables, and so does the host's own part of them.
#[test]
fn what_was_reloaded_counts_for_all_that_follows() {
    let host = shop("room = 'one'");
    let room = "x".repeat(3 << 20);
    let large = format!("room = '{room}'\nmemory_max = '1MiB'\nmemory_policy = 'refuse'");
    let text = format!("{}[plugin.late]\nroom = 'late'\n", file(&large));
    host.home().rewrite_config(&text);
    assert_eq!(reloaded(&host)["deployed"][0]["plugin"], "shop");
    host.deploy(&fault("configured"), "liblate_v1.so").swapped();
    assert_eq!(says_of(&host, "late"), "late [] ");
    let refuses = || host.control().get("/").text().contains("new requests are refused");
    eventually!(refuses(), "nobody looks at the memory that it may hold since");
    host.home().rewrite_config(&text.replace(&room, "two").replace("1MiB", "1GiB"));
    reloaded(&host);
    assert_eq!(says(&host), "two [] ");
    host.assert_no_failed_requests();
}

/// A table that has gone is no table.
#[test]
fn a_table_that_is_taken_out_is_missed() {
    let host = shop("room = 'one'");
    host.home().rewrite_config(super::BASE);
    let (code, message) = refused(&host);
    assert_eq!(code, "new_failed");
    assert!(message.contains("[plugin.shop]: missing field `room` (there is no such table)"));
    assert_eq!(says(&host), "one [] ");
    let event = |it: &serde_json::Value| it["verb"] == "reload" && it["outcome"] == code.as_str();
    eventually!(host.control().history().iter().any(event));
    reload(&host).assert_status(422);
}
