//! What authors test their built plugins with: `hotseat-testing`, over this host.

use std::{fs, path::Path, time::Duration};

use hotseat_test_support::{fault, plugin};
use hotseat_testing::Host;

fn host() -> Host {
    Host::new().binary(env!("CARGO_BIN_EXE_hotseat"))
}

fn plugins() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// Loaded, swapped, unloaded, ended in good order.
#[test]
fn a_plugin_is_swapped() {
    let host = host().plugin(plugin("handler_v1")).start().unwrap();
    let first = &host.plugins()[0];
    assert_eq!((first.plugin.as_str(), first.label.as_str()), ("handler", "1"));
    let answer = host.get("/").send().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("hello from handler v1"), "{answer:?}");
    let second = host.deploy(plugin("handler_v2")).unwrap();
    assert!(second.generation > first.generation);
    assert!(host.get("/").send().unwrap().text().starts_with("hello from handler v2"));
    host.wait_unloaded().unwrap();
    assert_eq!(host.status().unwrap()["retired"][0]["life"], "unloaded");
    assert!(host.log().contains("handler"), "{}", host.log());
    let pid = host.pid();
    assert!(host.stop().unwrap().success());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
}

/// Built by cargo, and mounted by the configuration; answers in pieces are read.
#[test]
fn a_package_is_built() {
    let toml = "[[mount]]\nprefix = \"/back\"\nplugin = \"echo\"\n";
    let host = host().package(plugins().join("echo")).cdylib().config(toml).start().unwrap();
    let answer = host.post("/back/", vec![b'x'; 300_000]).send().unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 300_000));
    assert_eq!(host.plugins()[0].plugin, "echo");
    let request = host.post("/back/", "x").header("content-type", "a/b");
    assert_eq!(request.send().unwrap().header("content-type"), Some("a/b"));
}

#[test]
fn what_is_wrong_is_told() {
    let wrong = |host: Host| host.start().unwrap_err().to_string();
    let text = wrong(Host::new().binary("/none/hotseat"));
    assert_eq!(text, "`Host::binary` names `/none/hotseat`: no program");
    let text = wrong(host().config("threads = \"many\""));
    assert!(text.contains("did not come up") && text.contains("threads"), "{text}");
    let text = wrong(host().plugin("/none/libx_v1.so"));
    assert!(text.starts_with("copy `/none/libx_v1.so`: "), "{text}");
    let text = wrong(host().package(plugins().join("none")).cdylib());
    assert!(text.starts_with("the package's folder `"), "{text}");
    let own = wrong(host().cdylib());
    assert!(own.contains("makes no library that can be loaded"), "{own}");
    let text = wrong(host().package(plugins().join("echo")).example("none"));
    assert!(text.contains("no example target"), "{text}");
}

/// What the host refuses has its code, and harms nothing.
#[test]
fn a_refusal_has_its_code() {
    let host = host().plugin(plugin("handler_v1")).start().unwrap();
    let error = host.deploy(fault("new_panics")).unwrap_err();
    assert_eq!(error.code(), Some("new_panicked"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libhandler_v9.so");
    fs::write(&text, "no library").unwrap();
    let error = host.deploy(text).unwrap_err();
    assert!(error.to_string().contains("hint: "), "{error}");
    assert!(host.get("/").send().unwrap().text().starts_with("hello from handler v1"));
}

/// One that stays in memory is told of, with what holds it.
#[test]
fn one_that_stays_is_told() {
    let host = host().plugin(fault("leaks_thread")).patience(Duration::from_secs(6));
    let host = host.start().unwrap();
    let first = host.plugins()[0].clone();
    let second = host.deploy_again(&first.library).unwrap();
    assert_eq!((&second.plugin, second.generation > first.generation), (&first.plugin, true));
    let error = host.wait_unloaded().unwrap_err();
    assert!(error.text().contains("thread"), "{error}");
}

/// The blocks of a documentation in `language`, as a reader sees them.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
        match (line.strip_prefix("```"), &mut block) {
            (Some(_), Some(_)) => blocks.extend(block.take().filter(|it| !it.is_empty())),
            (Some(of), None) => {
                block = Some(if of == language { String::new() } else { "\0".into() })
            }
            (None, Some(block)) if !line.starts_with("# ") => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    blocks.retain(|it| !it.starts_with('\0'));
    blocks
}

/// A plugin outside of this tree, by the letter of the SDK's documentation.
#[test]
fn a_plugin_outside_of_the_tree_is_built() {
    let tree = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = fs::read_to_string(tree.join("plugin-api/src/lib.rs")).unwrap();
    let [manifest, for_tests] = &blocks(&text, "toml")[..] else {
        panic!("two parts of a manifest")
    };
    let package = "[package]\nname = \"hello\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n";
    let manifest = [package, manifest, "\n", for_tests].concat();
    let there = tree.canonicalize().unwrap().display().to_string();
    assert_eq!(manifest.matches("\"../hotseat/").count(), 2, "{manifest}");
    let manifest = manifest.replace("\"../hotseat/", &format!("\"{there}/"));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("Cargo.toml", &manifest);
    write("src/lib.rs", &blocks(&text, "")[0]);
    // With what this tree is built with, and in the same way, so that little is built anew.
    write("Cargo.lock", &fs::read_to_string(tree.join("Cargo.lock")).unwrap());
    let config = "[net]\noffline = true\n\n[profile.dev]\ndebug = \"line-tables-only\"\n";
    write(".cargo/config.toml", config);
    let host = host().package(folder.path()).cdylib().start().unwrap();
    let serving = &host.plugins()[0];
    assert_eq!((serving.plugin.as_str(), serving.label.as_str()), ("hello", "1"));
    assert_eq!(host.get("/hello").send().unwrap().text(), "hello");
}
