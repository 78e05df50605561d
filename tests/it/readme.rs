//! What the README tells an author of a plugin to do, done as it says.
//!
//! Owns a package outside of the tree that has the README's own blocks. It is built in the target folder
//! of the tests, with their versions, so that only the SDK is built anew for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hotseat_test_support::library::profile_dir;
use hotseat_testing::Host;
use serde_json::Value;
use tempfile::TempDir;

mod guide;

/// Where the README has a checkout, seen from the plugin.
const CHECKOUT: &str = "../hotseat";

/// As the workspace builds what it depends on, and without the network.
const AS_THE_TESTS: [&str; 3] = ["--offline", "--config", "profile.dev.debug='line-tables-only'"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The first block of the README in `language` behind `heading`.
#[track_caller]
fn block(heading: &str, language: &str) -> String {
    block_of("README.md", heading, language)
}

/// As [`block`], of another document.
#[track_caller]
fn block_of(document: &str, heading: &str, language: &str) -> String {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let (_, section) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    let (_, block) = section.split_once(&format!("\n```{language}\n")).expect(language);
    format!("{}\n", block.split_once("\n```\n").expect("its end").0)
}

/// The package of the README, and what is behind it in either file.
fn package(manifest: &str, source: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("readme-").tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let manifest = format!("{}\n{manifest}\n", block("## A plugin", "toml"));
    assert!(manifest.contains(CHECKOUT), "{manifest}");
    write("Cargo.toml", &manifest.replace(CHECKOUT, root().to_str().unwrap()));
    fs::create_dir(folder.path().join("src")).unwrap();
    write("src/lib.rs", &format!("{}\n{source}\n", block("## A plugin", "rust")));
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    folder
}

/// Cargo on `package`, in the target folder of this test.
fn cargo(package: &TempDir, command: &str, args: &[&str]) -> Output {
    let profile = profile_dir();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg(command).arg("--lib").args(AS_THE_TESTS).args(args).current_dir(package.path());
    if !profile.ends_with("debug") {
        cargo.arg("--profile").arg(profile.file_name().unwrap());
    }
    cargo.arg("--target-dir").arg(profile.parent().unwrap()).env("CARGO_INCREMENTAL", "0");
    cargo.output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat()
}

/// Built where it lies, loaded, asked, swapped, gone.
#[test]
fn its_plugin_is_built_and_serves() {
    let package = package("", "");
    let args = ["--lib"].into_iter().chain(AS_THE_TESTS);
    let host = Host::new().binary(env!("CARGO_BIN_EXE_hotseat")).package(package.path());
    let host = host.build(args).start().unwrap();
    assert_eq!(
        (host.plugins()[0].plugin.as_str(), host.plugins()[0].label.as_str()),
        ("hello", "1.0.0")
    );
    assert_eq!(host.get("/hello").send().unwrap().text(), "hello");
    host.deploy_again(&host.plugins()[0].library).unwrap();
    assert_eq!(host.get("/hello").send().unwrap().text(), "hello");
    host.wait_unloaded().unwrap();
}

/// With the dependency that it asks for.
#[test]
fn its_test_runs() {
    let test = block("### Testing a plugin", "rust,ignore");
    let test = format!("#[cfg(test)]\nmod tests {{\nuse super::Hello;\n{test}\n}}");
    let package = package(&block("### Testing a plugin", "toml"), &test);
    let output = cargo(&package, "test", &[]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test tests::it_greets ... ok"), "{text}");
}

/// The SDK as cargo has built it for the README's plugin.
fn sdk(features: &[&str]) -> PathBuf {
    let args = [&["--message-format=json"], features].concat();
    let output = cargo(&package("", ""), "build", &args);
    assert!(output.status.success(), "{}", text(&output));
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = |it: &Value| it["target"]["name"] == "hotseat_plugin_api";
    let files = messages.filter(ours).filter_map(|it| it["filenames"].as_array().cloned());
    let mut files = files.flatten().filter_map(|file| file.as_str().map(PathBuf::from));
    files.find(|file| file.extension().is_some_and(|it| it == "rlib")).expect("the SDK is built")
}

/// The compiler on a plugin that needs the SDK alone.
fn rustc(sdk: &Path, source: &Path) -> Command {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "--crate-name=hello", "--crate-type=cdylib", "--emit=metadata"]);
    rustc.arg("--extern").arg(format!("hotseat_plugin_api={}", sdk.display()));
    rustc.arg("-L").arg(format!("dependency={}", profile_dir().join("deps").display()));
    rustc.arg(source);
    rustc
}

/// What the compiler says of the README's plugin with another export; empty: it takes it.
fn compiled(sdk: &Path, export: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = block("## A plugin", "rust").replace("export_handler!(Hello);", export);
    assert!(source.contains(export), "{source}");
    fs::write(folder.path().join("lib.rs"), source).unwrap();
    let mut rustc = rustc(sdk, Path::new("lib.rs"));
    let output = rustc.args(flags).current_dir(folder.path()).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// What [`hotseat_plugin_api::export_handler!`] says about mistakes is what the compiler says.
#[test]
fn mistakes_are_told_by_the_compiler() {
    let sdk = sdk(&[]);
    let own = "#[global_allocator]\nstatic OWN: std::alloc::System = std::alloc::System;\n";
    let [plain, twice, with_own, none] = [
        "export_handler!(Hello);".to_owned(),
        "export_handler!(Hello);\nexport_handler!(Hello);".to_owned(),
        format!("{own}export_handler!(Hello);"),
        format!("{own}export_handler!(Hello, allocator = none);"),
    ];
    assert_eq!(compiled(&sdk, &plain, &[]), "");
    assert_eq!(compiled(&sdk, &none, &[]), "");
    assert_eq!(compiled(&sdk, &plain, &["-Dunsafe_code"]), "");
    for (export, flags, says) in [
        (&*plain, &["-Cpanic=abort"][..], "a hotseat plugin needs `panic = \"unwind\"`"),
        (&*plain, &["-Funsafe_code"], "allow(unsafe_code) incompatible with previous forbid"),
        (&*with_own, &[], "cannot define multiple global allocators"),
        ("export_handler!(Hello, runtime = \"x\");", &[], "there is no runtime `x`: "),
        ("export_handler!(Hello, colour = 1);", &[], "there is no option `colour = 1`: "),
        (&*twice, &[], "cannot define multiple global allocators"),
        ("hotseat_plugin_api::export_axum!(app);", &[], "features = [\"axum\"] }"),
        ("hotseat_plugin_api::export_service!(app);", &[], "features = [\"service\"] }"),
        (
            "fn kit() { hotseat_plugin_api::axum_host!(app); }",
            &[],
            "features = [\"axum\", \"testing\"] }",
        ),
    ] {
        let said = compiled(&sdk, export, flags);
        assert!(said.contains(says), "{export}: {said}");
    }
}

/// A service that threads cannot share: what it lacks, and what to do.
#[test]
fn what_services_lack_is_told_by_the_compiler() {
    let sdk = sdk(&["--features=hotseat-plugin-api/service"]);
    let app = "fn app(_: &Context) -> Result<std::cell::Cell<u8>> { Err(\"none\")? }\n\
               hotseat_plugin_api::export_service!(app);";
    let said = compiled(&sdk, app, &[]);
    for words in ["a service has to be `Clone + Send + Sync + 'static`", "BoxCloneSyncService"] {
        assert!(said.contains(words), "{said}");
    }
}

/// Those that a manifest with the SDK alone is said to be enough for.
#[test]
fn its_sources_can_be_copied() {
    let sdk = sdk(&[]);
    for name in ["handler_v1", "handler_v2", "echo", "counter"] {
        let source = root().join("plugins").join(name).join("src/lib.rs");
        let folder = tempfile::tempdir().unwrap();
        let output = rustc(&sdk, &source).current_dir(folder.path()).output().unwrap();
        assert_eq!(text(&output), "", "{name}");
        assert!(output.status.success(), "{name}");
    }
}

/// By the targets that it names, with what the tests have built.
#[test]
fn its_examples_are_put_where_it_says() {
    let (profile, home) = (profile_dir(), tempfile::tempdir().unwrap());
    let name = profile.file_name().unwrap().to_str().unwrap();
    let mut make = Command::new("make");
    make.arg("-C").arg(root()).args(["--no-print-directory", "plugins", "examples"]);
    make.arg(format!("PLUGIN_PROFILE={}", if name == "debug" { "dev" } else { name }));
    make.arg(format!("PUT_INTO={}", home.path().display()));
    let output = make.env("CARGO_TARGET_DIR", profile.parent().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let there = fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().path());
    let mut there: Vec<_> = there.collect();
    there.sort();
    let folders = fs::read_dir(root().join("plugins")).unwrap().map(|it| it.unwrap().path());
    let folders = folders.filter(|it| it.join("Cargo.toml").is_file());
    assert_eq!(there.len(), folders.count(), "each folder has a library: {there:?}");
    for library in there {
        let mut check = Command::new(env!("CARGO_BIN_EXE_hotseat"));
        let output = check.arg("check").arg(&library).current_dir(home.path()).output().unwrap();
        let is_taken = output.status.success();
        // It has no upstream without settings, and says so.
        let wants = text(&output).contains("missing field `url`");
        assert!(is_taken || wants, "{}: {}", library.display(), text(&output));
    }
}
