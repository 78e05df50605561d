//! Settings that a plugin does not take: what is said, and on which line.

use hotseat_test_support::{fault, host};

use super::{BASE, file, named};

/// Six ways in which a table does not fit: the same words from a deploy and from `hotseat check`, the
/// line of the field where it has one, and that of what is around it where not.
#[test]
fn each_kind_of_refusal_names_table_field_and_line() {
    let missing = "/nowhere/of/this/test";
    let unreadable = format!("room = 'a'\ndb.password = 'file:{missing}'");
    for (text, code, at, says) in [
        (
            BASE.to_owned(),
            "new_failed",
            "",
            "[plugin.shop]: missing field `room` (there is no such table)",
        ),
        (file("login = false"), "new_failed", ":3: ", "[plugin.shop]: missing field `room`"),
        (
            file("room = 'a'\ndb = 3"),
            "new_failed",
            ":5: ",
            "[plugin.shop] db: invalid type: integer `3`, expected struct Db",
        ),
        (
            file("room = 'a'\n[plugin.shop.db]\npool = [\n1,\n300]"),
            "new_failed",
            ":8: ",
            "[plugin.shop] db.pool[1]: invalid value: integer `300`, expected u8",
        ),
        (
            file("room = 'a'\nmemory_max = '1GiB'\ncolour = 'red'"),
            "new_failed",
            ":6: ",
            "[plugin.shop] colour: unknown field `colour`, expected one of `room`, `db`, `login`",
        ),
        (
            file(&unreadable),
            "secret_unreadable",
            ":5: ",
            "[plugin.shop] db.password: cannot read `/nowhere/of/this/test`: No such file",
        ),
    ] {
        let host = host!().config(&text).start();
        let place = if at.is_empty() { String::new() } else { format!("{}{at}", named(&host)) };
        let expected = format!("{place}{says}");
        let deploy = host.deploy(&fault("configured"), "libshop_v1.so");
        let refused = deploy.assert_refused(422, code);
        assert!(refused.text.contains(&expected), "{expected}: {}", refused.text);
        assert_eq!(host.loaded(), Vec::<String>::new());
        let library = host.home().path().join("libshop_v1.so");
        let check = host
            .command()
            .args(["check", library.to_str().unwrap(), "--config", &named(&host)])
            .output()
            .unwrap();
        let said = String::from_utf8(check.stderr).unwrap();
        assert_eq!(check.status.code(), Some(2), "{said}");
        assert!(said.contains(&expected), "{expected}: {said}");
    }
}

/// A table may be meant for the plugin that has none: a refusal names those that nobody is given.
#[test]
fn a_refusal_without_a_table_names_those_that_are_left() {
    let host = host!().config(&file("room = 'a'").replace("plugin.shop", "plugin.shpo")).start();
    let deploy = host.deploy(&fault("configured"), "libshop_v1.so");
    deploy.assert_refused(422, "new_failed");
    let note = "there is no [plugin.shop], and nobody is given [plugin.shpo]";
    assert!(deploy.answer.text().contains(note), "{}", deploy.answer.text());
    // What has nothing to do with it says nothing of it.
    let deploy = host.deploy(&fault("no_entry"), "libother_v1.so");
    assert!(!deploy.answer.text().contains("nobody is given"), "{}", deploy.answer.text());
}

/// `hotseat check` has no host that knows what is loaded: it names tables whose names are near, and of no
/// other plugin.
#[test]
fn a_check_names_tables_that_may_be_meant() {
    let note = "there is no [plugin.shop]; is [plugin.shpo] meant for it?";
    let table = file("room = 'a'").replace("plugin.shop", "plugin.shpo");
    let mount = "[[mount]]\nprefix = '/x'\nplugin = 'shpo'\n";
    let elsewhere = table.replace("shpo", "billing");
    let (strict, plain) = (fault("configured"), fault("plain_v1"));
    for (text, library, others, code, is_told) in [
        (table.clone(), &strict, false, 2, true),
        (table.clone(), &plain, false, 0, true),
        (format!("{table}{mount}"), &plain, false, 0, false),
        (table, &plain, true, 0, false),
        (elsewhere, &plain, false, 0, false),
    ] {
        let builder = host!();
        let home = builder.home();
        let config = home.write("hotseat.toml", text.as_bytes());
        let library = home.place(library, "libshop_v1.so");
        if others {
            home.drop_in(&plain, "libshpo_v1.so");
        }
        let [config, library, plugins] =
            [config, library, home.plugins()].map(|it| it.display().to_string());
        let output = builder.run(&["check", &library, "--config", &config, "--plugins", &plugins]);
        let said = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        assert_eq!((output.status.code(), said.contains(note)), (Some(code), is_told), "{said}");
    }
}

/// `hotseat check` has the environment of its shell, and says so.
#[test]
fn a_check_names_its_own_environment() {
    let builder = host!().env("SHOP_TOKEN", "x").config(&file("room = 'env:SHOP_TOKEN'"));
    let host = builder.start();
    host.deploy(&fault("configured"), "libshop_v1.so").swapped();
    let library = host.home().path().join("libshop_v1.so");
    let mut check = host.command();
    check.args(["check", library.to_str().unwrap(), "--config", &named(&host)]);
    assert!(check.output().unwrap().status.success());
    let refused = check.env_remove("SHOP_TOKEN").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("goes by this shell's environment and not by the host's"), "{said}");
    assert!(said.ends_with("\ncode: secret_unreadable\n"), "{said}");
}
