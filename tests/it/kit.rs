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
    let answer = host.get("/").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("hello from handler v1"), "{answer:?}");
    let second = host.deploy(plugin("handler_v2")).unwrap();
    assert!(second.generation > first.generation);
    assert!(host.get("/").unwrap().text().starts_with("hello from handler v2"));
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
    let answer = host.request("POST", "/back/", &vec![b'x'; 300_000]).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 300_000));
    assert_eq!(host.plugins()[0].plugin, "echo");
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
    assert!(host.get("/").unwrap().text().starts_with("hello from handler v1"));
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
