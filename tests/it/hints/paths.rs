//! A path that a setting names and that cannot be used: the message has the path, the cause and the
//! next step, and the command ends.
//!
//! Method: every setting that names a path, with everything that can be in the way of it.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Stdio,
};

use hotseat_test_support::{Builder, eventually, fault, host, tool_or_skip};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::mounting;
use crate::carried::lack::{as_account, of_account};

/// Starts a host in vain, as `through`; what it said.
#[track_caller]
fn refused(builder: &Builder, through: &[&str], setting: &str, path: &Path) -> String {
    let home = builder.home().path();
    let log = home.join("vain.log");
    let mut words = through.to_vec();
    let binary = builder.binary_path().to_str().unwrap();
    words.extend([binary, "serve", "--listen=127.0.0.1:0", "--control=127.0.0.1:0"]);
    let (plugins, state) = (builder.home().plugins(), builder.home().state());
    let own = [("--plugins-dir", plugins.as_path()), ("--state-dir", state.as_path())];
    let own = own.into_iter().filter(|(it, _)| *it != setting);
    let folders = own.chain([(setting, path)]).map(|(it, path)| format!("{it}={}", path.display()));
    let mut command = std::process::Command::new(words[0]);
    command.args(&words[1..]).args(folders).current_dir(home).stdout(Stdio::null());
    command.env("HOME", home).env("XDG_CONFIG_HOME", home);
    let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let mut ended = None;
    let said = || fs::read_to_string(&log).unwrap();
    eventually!(
        {
            ended = child.try_wait().unwrap();
            ended.is_some()
        },
        "the end of {setting}={}: {}",
        path.display(),
        said()
    );
    assert!(!ended.unwrap().success());
    said()
}

#[track_caller]
fn check(said: &str, setting: &str, path: &Path, words: &[&str]) {
    let path = path.display().to_string();
    assert!(said.contains(&path), "no path `{path}` in {said}");
    for word in words.iter().chain(&[setting]) {
        assert!(said.contains(word), "{setting}={path}: no `{word}` in {said}");
    }
    assert!(said.contains("hint") || said.contains("; "), "no step in {said}");
}

#[test]
fn what_is_in_the_way_of_a_path_is_named() {
    let builder = host!();
    let home = builder.home().path();
    File::create(home.join("file")).unwrap();
    symlink("loop", home.join("loop")).unwrap();
    let file = home.join("file").display().to_string();
    let moved = format!("{file} is a file");
    let link = format!("the link {}", home.join("loop").display());
    let cases: [(&str, &str, &[&str]); 12] = [
        ("--plugins-dir", "file", &[&moved, "move it"]),
        ("--plugins-dir", "file/x", &[&moved, "move it"]),
        ("--plugins-dir", "loop/x", &[&link]),
        ("--plugins-dir", "/proc/1/x", &["in /proc/1"]),
        ("--state-dir", "file", &[&moved, "move it"]),
        ("--state-dir", "file/x", &[&moved, "move it"]),
        ("--state-dir", "loop/x", &[&link]),
        ("--state-dir", "/proc/1/x", &["in /proc/1"]),
        ("--pid-file", "file/x", &[&moved, "move it"]),
        ("--pid-file", "loop/x", &[&link]),
        ("--pid-file", "no/such", &["make the folder"]),
        ("--pid-file", "/proc/1/x", &["in /proc/1"]),
    ];
    for (setting, path, words) in cases {
        let path = home.join(path);
        let said = refused(&builder, &[], setting, &path);
        // Of a folder the host makes those above it first: that one is named then.
        let named = if path.ends_with("x") && !said.contains(&path.display().to_string()) {
            path.parent().unwrap()
        } else {
            &path
        };
        check(&said, setting, named, words);
    }
    let folder = home.join("folder");
    fs::create_dir(&folder).unwrap();
    check(&refused(&builder, &[], "--pid-file", &folder), "--pid-file", &folder, &["is a folder"]);
}

#[test]
fn who_may_not_is_named_with_owner_and_mode() {
    let Some(account) = as_account() else { return };
    let builder = of_account(host!(), &account);
    let folder = tempfile::tempdir_in("/").or_else(|_| tempfile::tempdir()).unwrap();
    if account.is_empty() {
        return;
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = folder.path().join("x");
    for setting in ["--plugins-dir", "--state-dir", "--pid-file"] {
        let said = refused(&builder, &account, setting, &path);
        check(&said, setting, folder.path(), &["let user 64321", "user 0, mode 0700"]);
    }
}

/// Nothing but a file is read, so nothing can keep the start waiting.
#[test]
fn a_configuration_that_is_no_file_is_refused() {
    let builder = host!();
    let home = builder.home().path();
    let at = |name: &str| home.join(name);
    mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("bytes"), [0xff, 0xfe]).unwrap();
    let cases = [
        ("pipe", "it is a pipe"),
        ("socket", "it is a socket"),
        ("folder", "it is a folder"),
        ("/dev/zero", "it is a device"),
        ("bytes", "UTF-8"),
        ("no/such.toml", "make the folder"),
    ];
    for (name, word) in cases {
        let said = refused(&builder, &[], "--config", &at(name));
        assert!(said.contains(word) && said.contains("hint: "), "{name}: {said}");
        assert!(said.contains(&at(name).display().to_string()), "{name}: {said}");
    }
    let host =
        builder.arg("--config=/dev/null").with(fault("plain_v1"), "libhandler_v1.so").start();
    assert_eq!(host.get("/").text(), "v1", "the usual word for an empty file");
}

/// The copy of a changed binary is in the state folder: where nothing may be run it runs from memory.
#[test]
fn a_binary_that_may_not_be_run_where_it_is_kept_runs() {
    let prepare = "mkdir state && mount -t tmpfs -o noexec,mode=0700 none state";
    let Some(words) = mounting(prepare) else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let host = host!().through(&words).with(fault("plain_v1"), "libhandler_v1.so").start();
    let other = host.home().path().join("other");
    fs::copy(env!("CARGO_BIN_EXE_hotseat"), &other).unwrap();
    let (before, args) = (host.worker_pid(), ["--wait", "--binary", other.to_str().unwrap()]);
    host.upgrade(&args).assert_code(0);
    assert_eq!(host.get("/").text(), "v1");
    assert_ne!(host.worker_pid(), before);
    let mount = host.home().state().display().to_string();
    host.assert_logged(&format!("mount -o remount,exec {mount}"));
}

/// What the host starts with it can be upgraded with; what is too large for that says so at once.
#[test]
fn a_large_configuration_is_upgraded_like_a_small_one() {
    let builder = host!();
    let path = builder.home().path().join("large.toml");
    let write = |mebibytes: usize| {
        let line = format!("#{}\n", "\"".repeat(1022));
        fs::write(&path, line.repeat(mebibytes << 10)).unwrap();
    };
    // Twice as much in JSON, which has to escape it.
    write(9);
    let builder = builder.arg(format!("--config={}", path.display()));
    let host = builder.arg("--soak-time=0s").start();
    host.upgrade(&["--wait"]).assert_code(0);
    write(65);
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3).assert_says("larger than 64 MiB");
}

/// A usual place that nobody has named and that the account may not look into is passed over.
#[test]
fn a_usual_place_that_is_locked_is_passed_over() {
    let builder = host!();
    let locked = builder.home().path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    let builder = builder.env("XDG_CONFIG_HOME", &locked).arg("--soak-time=0s");
    let host = if rustix::process::geteuid().is_root() {
        // Root may look everywhere, unless it has given that up.
        if tool_or_skip("setpriv", "util-linux").is_none() {
            return;
        }
        let without = "--bounding-set=-dac_override,-dac_read_search";
        builder.through(&["setpriv", without]).start()
    } else {
        builder.start()
    };
    host.assert_logged("may not look for a configuration file there");
    host.upgrade(&["--wait"]).assert_code(0);
    fs::set_permissions(&locked, Permissions::from_mode(0o700)).unwrap();
}
