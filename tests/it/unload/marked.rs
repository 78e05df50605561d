//! Libraries that are marked to stay loaded: the host's copy goes without the marks where that
//! unloads cleanly.

use std::{path::Path, process::Command};

use hotseat_test_support::{
    Host,
    elf::{self, DF_1_NODELETE, DT_FLAGS_1},
    fault, host, library, start_host, tool,
    tool::skip,
    wire,
};

use super::check_resident;

/// A function with a variable of its own.
const PLAIN: &str = "int next_number(void) { static int number; return ++number; }";
/// The same, of which there may be one in a process only.
const UNIQUE: &str = "
template <int kind> struct Counter {
    static int &number() { static int number; return number; }
};
extern \"C\" int next_number() { return ++Counter<0>::number(); }
";
/// A library that must not be unmapped.
const DEADLY: &str = "#include <stdlib.h>
int next_number(void) { return 1; }
__attribute__((destructor)) static void end(void) { abort(); }";

/// The plugin `linked`, linked by a compiler with `source` and `flags`; `None` where that is missing.
fn linked(folder: &Path, compiler: &str, source: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let Some(program) = tool(compiler) else {
        skip(&format!("there is no compiler `{compiler}`"));
        return None;
    };
    let written = folder.join(if compiler == "c++" { "linked.cc" } else { "linked.c" });
    std::fs::write(&written, source).unwrap();
    let archive = library::profile_dir().join("examples/liblinked.a");
    assert!(archive.is_file(), "`{}` is not built: run `make test-plugins`", archive.display());
    let made = folder.join("liblinked.so");
    let mut command = Command::new(program);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&made).arg(written).args(flags);
    command.arg("-Wl,--whole-archive").arg(archive).arg("-Wl,--no-whole-archive,--strip-all");
    let output = command.arg("-lgcc_s").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(made).unwrap())
}

fn marked(name: &str) -> Vec<u8> {
    elf::with_dynamic_bits(library::bytes(&fault(name)), DT_FLAGS_1, DF_1_NODELETE)
}

/// Swaps versions of `bytes`, each of which is unmapped and has variables of its own.
#[track_caller]
fn check_unloads(host: &Host, bytes: &[u8], note: &str) {
    let mut events = host.events();
    let mut last = None;
    for number in 0..12_u8 {
        let bytes = [bytes, &[number]].concat();
        let swapped = host.deploy_bytes(&bytes, &format!("libhandler_v{number}.so")).swapped();
        assert!(swapped.notes.contains(note), "`{note}` in {swapped:?}");
        host.get("/").assert_contains("number 1");
        if let Some(last) = last.replace(swapped.generation) {
            events.wait_generation(last, "unloaded");
        }
    }
    assert_eq!(host.loaded().len(), 1, "{:?}", host.loaded());
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0);
}

/// Linked with `-z nodelete`, and beside other marks, which stay.
#[test]
fn a_library_linked_nodelete_unloads() {
    let host = start_host!();
    for flags in ["-Wl,-z,nodelete", "-Wl,-z,nodelete,-z,initfirst,-z,now"] {
        let Some(bytes) = linked(host.home().path(), "cc", PLAIN, &[flags]) else { return };
        check_unloads(&host, &bytes, "(DF_1_NODELETE) is left out of the host's copy");
    }
}

/// Symbols that there may be one of: else the first version would stay for ever, and every later one
/// would use its variables.
#[test]
fn unique_symbols_are_each_versions_own() {
    let host = start_host!();
    let folder = host.home().path().to_owned();
    let Some(bytes) = linked(&folder, "c++", UNIQUE, &[]) else { return };
    check_unloads(&host, &bytes, "unique symbol");
    let bytes = linked(&folder, "c++", UNIQUE, &["-Wl,-z,nodelete"]).unwrap();
    check_unloads(&host, &bytes, "(DF_1_NODELETE) and the mark");
}

/// Its identity is what its author made: the same file is the same content, the next process finds
/// it, and it goes without its marks there, too.
#[test]
fn a_marked_library_keeps_its_identity() {
    let mut host = start_host!();
    let bytes = marked("plain_v1");
    let swapped = host.deploy_bytes(&bytes, "libhandler_v1.so").swapped();
    let digest = wire::text(&wire::plugin(&host.status(), "handler"), "/active/digest");
    let kept = host.state_file("artifacts").join(format!("{digest}.so"));
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    host.restart();
    assert_eq!(host.active("handler"), swapped.generation);
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(swapped.generation, "unloaded");
}

/// Where the copy does not unload cleanly, the marks may be there for a reason: it is loaded as it
/// is, and stays.
#[test]
fn a_marked_library_that_does_not_unload_stays() {
    let host = start_host!();
    let swapped = host.deploy_bytes(&marked("leaks_thread"), "libhandler_v1.so").swapped();
    assert!(swapped.notes.contains("NODELETE"), "{swapped:?}");
    check_resident(&host, "a thread", "1 thread left behind");
    let Some(bytes) = linked(host.home().path(), "cc", DEADLY, &["-Wl,-z,nodelete"]) else {
        return;
    };
    let host = start_host!();
    let swapped = host.deploy_bytes(&bytes, "libhandler_v1.so").swapped();
    assert!(swapped.notes.contains("NODELETE"), "{swapped:?}");
    check_resident(&host, "a deadly end", "NODELETE");
}

/// With `unload = "require"` it is only refused where it would stay.
#[test]
fn require_takes_a_marked_library_that_unloads() {
    let host = host!().arg("--unload=require").with(fault("gate"), "libhandler_v1.so").start();
    let offered = host.deploy_bytes(&marked("leaks_thread"), "libhandler_v2.so");
    offered.assert_refused(422, "would_stay_resident");
    host.deploy_bytes(&marked("plain_v1"), "libhandler_v3.so").swapped();
}
