//! `docs/plugin.md`, followed from its top to its bottom in an empty folder.
//!
//! Owns the package that its blocks make. What they depend on is built in the target folder of the
//! tests, with the versions of the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hotseat_test_support::{
    Answer, Host, host,
    library::profile_dir,
    stream::{Came, Socket},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{CHECKOUT, block_of, root, text};
use crate::tidy;

const GUIDE: &str = "docs/plugin.md";
const DATABASE: &str = "plugins/notes/src/database.rs";

fn guide(heading: &str, language: &str) -> String {
    block_of(GUIDE, heading, language)
}

/// A folder with the workspace's versions, and `database.rs`, as it is copied.
fn folder(manifest: &str, source: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("guide-").tempdir().unwrap();
    let all = folder.path();
    assert!(manifest.contains(CHECKOUT), "{manifest}");
    fs::write(all.join("Cargo.toml"), manifest.replace(CHECKOUT, root().to_str().unwrap()))
        .unwrap();
    fs::create_dir(all.join("src")).unwrap();
    fs::write(all.join("src/lib.rs"), source).unwrap();
    fs::copy(root().join(DATABASE), all.join("src/database.rs")).unwrap();
    fs::copy(root().join("Cargo.lock"), all.join("Cargo.lock")).unwrap();
    folder
}

/// The whole package of the guide.
fn shop() -> TempDir {
    let folder = folder(&guide("## The package", "toml"), &guide("## The code", "rust"));
    let all = folder.path();
    fs::write(all.join("src/tests.rs"), guide("## A unit test", "rust")).unwrap();
    fs::create_dir(all.join("tests")).unwrap();
    fs::write(all.join("tests/host.rs"), guide("## A test in a real host", "rust")).unwrap();
    folder
}

/// What cargo says in `package`. All is told by variables, because the guide's own test calls cargo, too.
#[track_caller]
fn cargo(package: &Path, command: &str) -> String {
    let profile = profile_dir();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg(command).current_dir(package).env("CARGO_TARGET_DIR", profile.parent().unwrap());
    if !profile.ends_with("debug") {
        cargo.arg("--profile").arg(profile.file_name().unwrap());
    }
    for (name, value) in [
        ("CARGO_NET_OFFLINE", "true"),
        ("CARGO_INCREMENTAL", "0"),
        ("CARGO_PROFILE_DEV_DEBUG", "line-tables-only"),
        ("HOTSEAT", env!("CARGO_BIN_EXE_hotseat")),
    ] {
        cargo.env(name, value);
    }
    let output = cargo.output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "cargo {command}: {said}");
    said
}

/// The library of a version, as the guide names it.
fn built(package: &Path, version: u8) -> PathBuf {
    let manifest = package.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let named = text.replace("\"shop_v1\"", &format!("\"shop_v{version}\""));
    assert!(named.contains(&format!("\"shop_v{version}\"")), "{named}");
    fs::write(&manifest, named).unwrap();
    cargo(package, "build");
    profile_dir().join(format!("libshop_v{version}.so"))
}

/// What the guide promises that the shop says, each time it is asked.
fn visits() -> Vec<String> {
    let guide = fs::read_to_string(root().join(GUIDE)).unwrap();
    let (_, section) = guide.split_once("\n## Deploy, change, roll back\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = section.lines().filter(|line| line.starts_with("visit "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn visit(host: &Host) -> String {
    host.get("/shop").assert_status(200).text()
}

#[track_caller]
fn create(host: &Host, name: &str, token: &str) -> Answer {
    let body = format!(r#"{{"name":"{name}"}}"#);
    let fields = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut connection = host.connect();
    connection.send_request("POST", "/shop/items", &fields).unwrap();
    connection.send(body).unwrap();
    connection.read_answer().unwrap()
}

/// Built and tested as it says; deployed, asked, changed, killed and rolled back in a host of two
/// processes, with the settings that it says.
#[test]
fn it_works_from_top_to_bottom() {
    let package = shop();
    let said = cargo(package.path(), "test");
    for test in ["items_are_made_and_watched", "visits_are_counted"] {
        assert!(said.contains(&format!("test tests::{test} ... ok")), "{said}");
    }
    assert!(said.contains("test it_is_swapped_and_leaves_the_memory ... ok"), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let [first, second] = [1, 2].map(|version| built(package.path(), version));

    let settings = guide("## The settings", "toml").replace("listen = [\"127.0.0.1:8080\"]\n", "");
    let host = host!().config(&settings).env("SHOP_TOKEN", "secret").start();
    host.deploy(&first, "libshop_v1.so").swapped();
    let visits = visits();
    assert_eq!(visit(&host), visits[0]);
    create(&host, "bread", "public").assert_status(401);
    assert_eq!(host.get("/shop/items").assert_status(200).text(), "[]");
    let mut socket = Socket::open(host.data(), "/shop/watch").unwrap();
    create(&host, "bread", "secret").assert_status(201);
    assert_eq!(socket.receive(), Came::Text("bread".to_owned()));

    host.deploy(&second, "libshop_v2.so").swapped();
    assert_eq!(socket.receive(), Came::Close(1012));
    assert_eq!(visit(&host), visits[1]);
    host.control().rollback(Some("shop"), None).swapped();
    assert_eq!(visit(&host), visits[2]);

    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_other_worker(worker);
    assert_eq!(visit(&host), "visit 4 to shop v1\n");
    assert_eq!(host.get("/shop/items").assert_status(200).text(), r#"[{"name":"bread"}]"#);
    let log = host.home().read_log();
    assert!(log.contains("a new item") && !log.contains("secret"), "{log}");
}

/// The file and what its head asks for are enough.
#[test]
fn the_database_stands_alone() {
    let file = fs::read_to_string(root().join(DATABASE)).unwrap();
    let head: String = file
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"])
        .collect();
    let (_, needs) = head.split_once("```toml\n").unwrap();
    let (needs, _) = needs.split_once("```").unwrap();
    let manifest = format!(
        "[package]\nname = \"alone\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[dependencies]\n\
         hotseat-plugin-api = {{ path = \"{CHECKOUT}/plugin-api\", features = [\"runtime\"] }}\n{needs}"
    );
    cargo(folder(&manifest, "mod database;\n").path(), "check");
}

/// Whoever looks a code up finds one that the host gives.
#[test]
fn its_codes_are_the_hosts() {
    let guide = fs::read_to_string(root().join(GUIDE)).unwrap();
    let (_, table) = guide.split_once("| code | what it means here |\n|---|---|\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().filter_map(|row| row.split('|').nth(1));
    let codes: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(codes.len() > 10, "{codes:?}");
    let host: String = tidy::sources("host/src").into_iter().map(|(_, text)| text).collect();
    for code in codes {
        assert!(host.contains(&format!("\"{code}\"")), "no refusal has the code `{code}`");
    }
}
