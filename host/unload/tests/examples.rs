//! The two examples, run as their documentation says: programs that know nothing of hotseat.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of this build's examples.
fn examples() -> PathBuf {
    let own = env::current_exe().expect("a test has a path");
    let profile = own.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    profile.join("examples")
}

/// Types `lines` into the console; what it answers.
#[track_caller]
fn type_in(lines: &[String]) -> Vec<String> {
    let mut console = Command::new(examples().join("console"));
    let console = console.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut console = console.spawn().expect("`cargo build -p hotseat-unload --examples` makes it");
    let mut typed = console.stdin.take().expect("piped");
    for line in lines {
        writeln!(typed, "{line}").expect("the console reads");
    }
    drop(typed);
    let ended = console.wait_with_output().expect("the console ends");
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).expect("text").lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_console_swaps_a_library() {
    let load = format!("load {}", examples().join("libgreeter.so").display());
    let mut typed = Vec::new();
    for _ in 0..20 {
        typed.extend([load.clone(), "greet world".to_owned(), "greet you".to_owned()]);
    }
    typed.extend(["unload", "greet nobody", "unload", "load /no/such"].map(ToOwned::to_owned));
    let said = type_in(&typed);
    for swap in said[..60].chunks(3) {
        let each = ["loaded", "Hello, world! You are number 1.", "Hello, you! You are number 2."];
        assert_eq!(swap, each, "each has statics of its own, and the one before could go");
    }
    assert_eq!(said[60..63], ["unloaded", "error: nothing is loaded", "error: nothing is loaded"]);
    assert!(said[63].starts_with("error: /no/such: "), "{said:?}");
}

#[test]
fn a_program_with_threads_swaps_a_library_in_c() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcounter.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/counter.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .status();
    let Ok(compiled) = compiled else {
        eprintln!("skipped: there is no C compiler (`cc`; Debian's package `gcc`)");
        return;
    };
    assert!(compiled.success());
    let ran = Command::new(examples().join("threads")).arg(&library).arg("40").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(said, "40 loads, 40000 calls, 40 unloaded, 0 stay\n");
}
