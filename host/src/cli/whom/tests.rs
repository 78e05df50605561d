//! Who says where a host is, and what is made of it.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use super::*;

/// A folder with files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(texts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// By the flags `control` and `config`, with `found.toml` in a usual place.
    fn whom(&self, control: Option<&str>, config: Option<&str>) -> Result<Whom, NotSaid> {
        let control = control.map(|it| it.parse().unwrap()).into_iter().collect();
        let config = config.map(|name| self.path(name));
        let places = vec![self.path("found.toml")];
        let around = Surroundings { places, state_directory: None };
        Whom::of(&RemoteArgs { control, config, json: false }, &around)
    }

    #[track_caller]
    fn check(&self, control: Option<&str>, config: Option<&str>, at: &str) -> String {
        let whom = self.whom(control, config).unwrap();
        assert_eq!(whom.at.to_string(), at);
        whom.clue.unwrap_or_default()
    }
}

#[test]
fn what_is_nearer_wins() {
    let files = Files::new(&[
        ("found.toml", "control = ['127.0.0.1:2']"),
        ("named.toml", "control = ['127.0.0.1:3', '127.0.0.1:4']"),
        ("silent.toml", "threads = 1"),
        ("wrong.toml", "control = 7"),
    ]);
    assert_eq!(files.check(Some("127.0.0.1:1"), Some("named.toml"), "127.0.0.1:1"), "");
    // Nobody looks at the file then.
    assert_eq!(files.check(Some("unix:@x"), Some("wrong.toml"), "unix:@x"), "");
    assert_eq!(files.check(Some("unix:x"), Some("missing.toml"), "unix:x"), "");
    let clue = files.check(None, Some("named.toml"), "127.0.0.1:3");
    assert!(clue.ends_with("/named.toml`"), "{clue}");
    let clue = files.check(None, None, "127.0.0.1:2");
    assert!(clue.ends_with("/found.toml`"), "{clue}");
    // The named one is the host's, and it has the default.
    assert_eq!(files.check(None, Some("silent.toml"), "127.0.0.1:28000"), "");
    assert_eq!(Files::new(&[]).check(None, None, "127.0.0.1:28000"), "");
}

#[test]
fn a_file_that_was_named_has_to_say_it() {
    let files = Files::new(&[("wrong.toml", "\ncontrol = 7"), ("found.toml", "")]);
    for (name, code, says) in [
        ("wrong.toml", "config_invalid", "/wrong.toml` is wrong at line 2, column 11: "),
        ("missing.toml", "config_unreadable", "/missing.toml`: No such file"),
    ] {
        let error = files.whom(None, Some(name)).unwrap_err();
        assert_eq!((error.code(), error.exit()), (code, USAGE));
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_file_that_was_only_found_is_a_clue() {
    let files = Files::new(&[("found.toml", "control = ['unix:@x']")]);
    let clue = files.check(None, None, "127.0.0.1:28000");
    assert!(clue.contains("/found.toml` is wrong at line 1, "), "{clue}");
    assert!(clue.ends_with(", so 127.0.0.1:28000 is only the default"), "{clue}");
    if rustix::process::getuid().is_root() {
        // Nothing is locked for root.
        return;
    }
    std::fs::set_permissions(files.0.path(), Permissions::from_mode(0o000)).unwrap();
    let clue = files.check(None, None, "127.0.0.1:28000");
    std::fs::set_permissions(files.0.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(clue.starts_with("this account may not look for a configuration file at "), "{clue}");
}

#[test]
fn an_address_has_to_be_one_that_can_be_known() {
    let files = Files::new(&[
        ("none.toml", "control = []"),
        ("any.toml", "control = ['127.0.0.1:0']"),
        ("second.toml", "control = ['127.0.0.1:0', 'unix:run/control']"),
        ("found.toml", "control = []"),
    ]);
    for name in [Some("none.toml"), None] {
        let error = files.whom(None, name).unwrap_err();
        assert_eq!((error.code(), error.exit()), ("no_control", FAILED));
    }
    let error = files.whom(None, Some("any.toml")).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("control_port_unknown", FAILED));
    assert!(error.to_string().ends_with(" to the system (`127.0.0.1:0`)"), "{error}");
    let clue = files.check(None, Some("second.toml"), "unix:run/control");
    assert!(clue.ends_with(" begins in the folder that the host was started in"), "{clue}");
}
