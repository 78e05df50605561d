//! What references stand for, and every way in which they stand for nothing.

use std::{fs::File, io::Write as _};

use serde_json::json;

use super::*;
use crate::config::raw::{RawConfig, file::FileText, file::Surroundings};

fn name() -> PluginName {
    "shop".parse().unwrap()
}

/// The table of `shop` in a file of this text.
fn table(text: &str) -> PluginTable {
    let file = FileText { path: Some("/etc/hotseat.toml".into()), text: text.to_owned() };
    let loaded = RawConfig::default().load_text(&file, &Surroundings::default()).unwrap();
    loaded.config.plugins[&name()].clone()
}

fn resolve(text: &str, kept: &Secrets) -> Result<PluginSettings, (String, String)> {
    let told = |error: SecretError| (error.to_string(), error.hint().unwrap_or_default());
    table(text).resolve(&name(), kept).map_err(told)
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    File::create_new(&path).unwrap().write_all(bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_reference_stands_for_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let db = written(&folder, "db", b"pass word\n");
    let windows = written(&folder, "windows", b"two\nlines\r\n");
    let text = format!(
        "[plugin.shop]\nmemory_max = '64MiB'\nplain = 'profile:x'\nliteral = 'literal:file:/x'\n\
         twice = 'literal:literal:'\npath = 'env:PATH'\nlist = [1, {{ db = 'file:{db}' }}]\n\
         windows = 'file:{windows}'"
    );
    let settings = resolve(&text, &Secrets::new()).unwrap();
    let json: Value = serde_json::from_str(settings.json.as_deref().unwrap()).unwrap();
    let expected = json!({
        "memory_max": "64MiB",
        "plain": "profile:x",
        "literal": "file:/x",
        "twice": "literal:",
        "path": std::env::var("PATH").unwrap(),
        "list": [1, { "db": "pass word" }],
        "windows": "two\nlines",
    });
    assert_eq!(json, expected);
    let places: Value = serde_json::from_str(settings.places.as_deref().unwrap()).unwrap();
    assert_eq!(places["file"], "/etc/hotseat.toml");
    assert_eq!((&places["line"], &places["lines"]["list[1].db"]), (&json!(1), &json!(7)));
    assert_eq!(places["secrets"], json!(["list[1].db", "path", "windows"]));
    assert_eq!(places["host"], json!(HOST_KEYS));
    assert_eq!(settings.secrets[&format!("file:{db}")], "pass word");
    assert!(!format!("{settings:?}").contains("pass"));
    let said = settings.hide("no pass word here, and \"two\\nlines\"".to_owned());
    assert_eq!(said, "no (secret) here, and \"(secret)\"");
}

/// What another process of the host has read is not read again.
#[test]
fn what_is_kept_needs_no_file() {
    let kept = Secrets::from([("file:/gone".to_owned(), "was there".to_owned())]);
    let settings = resolve("[plugin.shop]\nkey = 'file:/gone'\nplain = 1", &kept).unwrap();
    assert_eq!(settings.json.as_deref(), Some(r#"{"key":"was there","plain":1}"#));
    assert_eq!(settings.secrets, kept);
    let settings = settings_of(&BTreeMap::new(), &name(), &kept).unwrap();
    assert_eq!(settings, PluginSettings::default());
}

#[test]
fn a_reference_to_nothing_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let binary = written(&folder, "binary", &[0xff, 0xfe]);
    let large = written(&folder, "large", &vec![b'a'; SECRET_BYTES + 1]);
    let shown = folder.path().display().to_string();
    for (reference, said, hint) in [
        ("file:secrets/db", "what follows `file:` is no absolute path", "`literal:file:…`"),
        ("file:///etc/passwd", "what follows `file:` is a URL", "`literal:file:…`"),
        ("env:not-a-name", "what follows `env:` is no name of a variable", "`literal:env:…`"),
        ("env:", "no name of a variable", "`env:NAME`"),
        (
            "env:HOTSEAT_NOBODY_SETS_THIS",
            "the host was started without the variable `HOTSEAT_NOBODY_SETS_THIS`",
            "set HOTSEAT_NOBODY_SETS_THIS where the host is started",
        ),
        (&format!("file:{shown}/none"), "cannot read", "`db.key`"),
        (&format!("file:{shown}"), "it is a folder", "a small text file in `db.key`"),
        ("file:/dev/zero", "it is a device", "a small text file"),
        (&format!("file:{binary}"), "did not contain valid UTF-8", "save it as UTF-8"),
        (&format!("file:{large}"), "it is larger than 64 KiB", "a small text file"),
    ] {
        let text = format!("[plugin.shop]\nroom = 'a'\ndb.key = '{reference}'");
        let (error, told) = resolve(&text, &Secrets::new()).unwrap_err();
        assert!(error.starts_with("/etc/hotseat.toml:3: [plugin.shop] db.key: "), "{error}");
        assert!(error.contains(said), "{reference}: {error}");
        assert!(told.contains(hint), "{reference}: {told}");
    }
    let table = table("[plugin.shop]\nroom = 'a'\nkey = 'env:HOTSEAT_NOBODY_SETS_THIS'");
    let error = table.resolve(&name(), &Secrets::new()).unwrap_err().of_check();
    let whose = "`hotseat check`, which goes by this shell's environment and not by the host's, was \
                 started without the variable `HOTSEAT_NOBODY_SETS_THIS`";
    assert!(error.to_string().ends_with(whose), "{error}");
    assert!(error.hint().unwrap().contains("for this command"), "{error}");
    // It may be a password that happens to begin so.
    let (error, _) = resolve("[plugin.shop]\nkey = 'env:hunter 2'", &Secrets::new()).unwrap_err();
    assert!(!error.contains("hunter"), "{error}");
}
