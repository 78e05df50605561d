//! The hidden children of a master, run by themselves: one keeps a binary, one checks the settings
//! and the plugins that serve.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hotseat_test_support::{Builder, Home, Host, elf, fault, host, library::bytes};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_hotseat");
const TOKEN: &str = "the-token";

#[track_caller]
fn found(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{:?} {error}", output.status);
    let lines = String::from_utf8_lossy(&output.stdout);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    serde_json::from_str(&lines).unwrap()
}

/// Its code, nothing on standard output, and what it says.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &*output.stdout), (Some(code), &b""[..]), "{error}");
    error
}

fn stage(source: &Path, folder: &Path) -> Output {
    Command::new(BINARY).arg("stage-child").args([source, folder]).output().unwrap()
}

fn runnable(home: &Home, name: &str, bytes: &[u8]) -> PathBuf {
    let path = home.write(name, bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The copy can be started, which then serves the next candidate.
#[test]
fn a_binary_is_kept_and_runs() {
    let home = Home::new();
    let folder = home.path().join("bin");
    let first = found(&stage(Path::new(BINARY), &folder));
    let copy = Path::new(first["path"].as_str().unwrap());
    assert_eq!(copy, folder.join(first["digest"].as_str().unwrap()));
    let version = Command::new(copy).arg("--version").output().unwrap();
    let words = concat!("hotseat ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&version.stdout), words);
    let again = Command::new(copy).arg("stage-child").args([copy, &*folder]).output().unwrap();
    assert_eq!(found(&again), first);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

/// One line says what is wrong, and nothing is left.
#[test]
fn what_cannot_be_started_is_no_binary() {
    let home = Home::new();
    let folder = home.path().join("bin");
    let good = bytes(Path::new(BINARY));
    let missing = home.path().join("missing");
    let plain = home.write("plain", &good);
    for (source, words) in [
        (&missing, "No such file or directory\n"),
        (&runnable(&home, "empty", b""), "it is empty\n"),
        (&runnable(&home, "text", b"hello\n"), "it is no ELF binary: it looks like text\n"),
        (&plain, "not executable: run chmod +x\n"),
        (&runnable(&home, "s390", &elf::with_machine(good.clone(), elf::EM_S390)), "s390x, this"),
        (&runnable(&home, "short", &good[..good.len() - 9]), "it is truncated: "),
        (&runnable(&home, "library", &bytes(&fault("plain_v1"))), "no program but a library\n"),
        (&home.path().to_owned(), "it is a folder\n"),
    ] {
        let text = refused(&stage(source, &folder), 2);
        assert!(text.contains(words) && text.lines().count() == 1, "no `{words}` in: {text}");
    }
    assert!(!folder.exists());
    assert_eq!(refused(&Command::new(BINARY).arg("stage-child").output().unwrap(), 64), "");
}

/// As on a full disk: the half that was written is removed.
#[test]
fn a_copy_that_does_not_fit_is_removed() {
    let home = Home::new();
    let folder = home.path().join("bin");
    // Units of 512 or 1024 bytes; any binary of ours is larger.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" stage-child \"$0\" \"$1\"";
    let output = Command::new("sh").args(["-c", script, BINARY]).arg(&folder).output().unwrap();
    let text = refused(&output, 2);
    assert!(text.contains("` is beyond the limit on file sizes\nhint: raise the limit"), "{text}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

/// A pipe never ends a read: it must not be waited for.
#[test]
fn a_pipe_is_not_waited_for() {
    let home = Home::new();
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The limit is for a child that hangs; it ends with 124 then.
    let mut command = Command::new("timeout");
    command.args(["30", BINARY, "stage-child"]).args([&pipe, &home.path().join("bin")]);
    assert_eq!(refused(&command.output().unwrap(), 2), "it is a pipe\n");
}

fn check(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.current_dir(home.path()).args(["settings-child", TOKEN, "--state-dir", "state"]);
    command.args(args).env_clear().output().unwrap()
}

/// A host that runs and holds the lock of its folder.
fn running(library: &str) -> Host {
    host!().arg("--single").with(fault(library), "libhandler_v1.so").start()
}

/// Everything in the state folder, with its times.
fn picture(home: &Home) -> Vec<String> {
    let script = "find state -printf '%p %i %s %m %T@ %C@\\n' | sort";
    let output = Command::new("sh").args(["-c", script]).current_dir(home.path()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
}

#[test]
fn settings_are_found_beside_a_running_host() {
    let host = running("plain_v1");
    let home = host.home();
    home.write("hotseat.toml", b"strict_exit = true\n");
    let before = picture(home);
    let found = found(&check(home, &["--config", "hotseat.toml", "--listen", "127.0.0.1:0"]));
    assert_eq!(found["token"], TOKEN);
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert!(found["proto"].is_u64() && found["memory"].is_u64(), "{found}");
    assert_eq!(found["settings"]["strict_exit"], true);
    assert_eq!(found["file"]["text"], "strict_exit = true\n");
    assert_eq!(picture(home), before, "it only reads");
    host.get("/").assert_status(200);
}

#[test]
fn wrong_settings_are_told_as_serve_tells_them() {
    let home = Home::new();
    home.write("hotseat.toml", b"colour = 1\n");
    let text = refused(&check(&home, &["--config", "hotseat.toml"]), 64);
    assert!(
        text.starts_with("the configuration `hotseat.toml` is wrong at line 1, column 1: "),
        "{text}"
    );
    let text = refused(&check(&home, &["--header-time", "10"]), 64);
    assert!(text.contains("`10` has no unit"), "{text}");
    assert!(!home.state().exists());
    assert_eq!(refused(&Command::new(BINARY).arg("settings-child").output().unwrap(), 64), "");
}

/// A host that has never committed anything has nothing to lose.
#[test]
fn without_a_manifest_nothing_is_tried() {
    let home = Home::new();
    assert_eq!(found(&check(&home, &[]))["token"], TOKEN);
    assert!(!home.state().exists());
}

/// Puts another library where the manifest names the one that was deployed.
fn replace(home: &Home, library: &[u8]) {
    let path = home.state().join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let old = manifest["plugins"]["handler"]["versions"][0]["sha256"].as_str().unwrap().to_owned();
    let staged = home.write("other.so", library);
    let sum = Command::new("sha256sum").arg(&staged).output().unwrap();
    let new = String::from_utf8_lossy(&sum.stdout)[..64].to_owned();
    fs::rename(staged, home.state().join(format!("artifacts/{new}.so"))).unwrap();
    fs::write(path, text.replace(&old, &new)).unwrap();
}

/// What the check of a host says whose `handler` has become `library`.
#[track_caller]
fn unfit(library: &[u8], args: &[&str]) -> String {
    let mut host = running("plain_v1");
    host.stop();
    replace(host.home(), library);
    let text = refused(&check(host.home(), args), 2);
    let head = "plugin handler v1 (generation 1) does not load with this binary: ";
    let rest = text.strip_prefix(head).unwrap_or_else(|| panic!("{text}"));
    assert_eq!((rest.lines().count(), rest.contains("\nhint: ")), (2, true), "{text}");
    rest.to_owned()
}

#[test]
fn a_plugin_that_does_not_load_is_told() {
    let text = unfit(&bytes(&fault("new_panics")), &[]);
    assert!(text.contains("was asked to panic"), "{text}");
    let text = unfit(&bytes(&fault("new_hangs")), &["--preflight-time", "300ms"]);
    assert!(text.starts_with("the preflight took longer than 300 ms"), "{text}");
}

#[test]
fn another_abi_is_told_with_both_versions() {
    let good = bytes(&fault("plain_v1"));
    let other = elf::with_text(good, "hotseat-manifest 1\nabi=1.", "hotseat-manifest 1\nabi=9.");
    let text = unfit(&other, &[]);
    assert!(text.starts_with("it speaks hotseat ABI 9.4, this host speaks 1."), "{text}");
}

/// One that was unloaded may be as it likes; one whose bytes are gone may not.
#[test]
fn only_what_serves_is_tried() {
    let mut host = running("plain_v1");
    let builder = Builder::new(BINARY).at(host.home());
    let unload = |host: &Host| {
        let control = host.control().address.to_string();
        builder.clone().env("HOTSEAT_CONTROL", control).run(&["unload", "handler"])
    };
    let artifacts = host.home().state().join("artifacts");
    for entry in fs::read_dir(artifacts).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let text = refused(&check(host.home(), &[]), 2);
    assert!(text.contains("does not load with this binary: no artifact "), "{text}");
    assert!(unload(&host).status.success());
    found(&check(host.home(), &[]));
    host.stop();
}

/// The new settings give its place to another, so an upgrade would take it out of traffic.
#[test]
fn a_plugin_without_a_place_is_told() {
    let host = running("plain_v1");
    let home = host.home();
    let config = "[[mount]]\nprefix = \"/\"\nplugin = \"other\"\n";
    home.write("hotseat.toml", config.as_bytes());
    let text = refused(&check(home, &["--config", "hotseat.toml"]), 2);
    assert!(text.contains("would be mounted at `/`, which belongs to `other`"), "{text}");
}
