//! Addresses that others keep of a library: known places get copies, anybody else keeps it and is
//! named.

use std::{path::PathBuf, process::Command, thread};

use hotseat_test_support::{
    Builder, Host, elf, eventually, fault, host, library, plugin, tool, tool::skip, wire,
};

use super::{ended_as, kept_or_gone};

/// The end that a library comes to that has left an address behind.
enum End {
    /// Unmapped at once.
    Gone,
    /// Kept, by whom.
    Held(&'static str),
}

/// Every place, by the name that the plugin knows it by.
const PLACES: [(&str, End); 10] = [
    ("putenv", End::Gone),
    ("environ", End::Gone),
    ("openlog", End::Gone),
    ("setvbuf", End::Gone),
    ("names", End::Gone),
    ("atexit", End::Gone),
    ("atfork", End::Gone),
    // Once more, where the words of the first have stayed behind.
    ("atexit", End::Gone),
    ("on_exit", End::Gone),
    ("terminate", End::Held("held by libstdc++.so.6+0x")),
];

/// Bytes of their own for each version: what is loaded twice at one place is not the same library.
fn version_of(name: &str, number: usize) -> Vec<u8> {
    [&library::bytes(&fault(name))[..], &number.to_le_bytes()].concat()
}

/// One version for each place; the next one takes its seat. At the end the C library uses what was
/// left, which crashes the worker where a library has gone that it was left by.
#[test]
fn every_place_is_healed_or_keeps_the_library() {
    let host = crate::plain_host();
    let pid = host.worker_pid();
    let mut wrong = Vec::new();
    for (number, (place, end)) in PLACES.iter().enumerate() {
        let name = format!("libhandler_v{number}.{place}.so");
        let offered = host.deploy_bytes(&version_of("keeps", number), &name);
        if offered.answer.status == 422 && *place == "terminate" {
            skip("there is no C++ library");
            continue;
        }
        let swapped = offered.swapped();
        host.deploy_bytes(&version_of("plain_v1", number), "libhandler_v99.so").swapped();
        let found = kept_or_gone(&host, swapped.generation, "held by");
        let (wanted, noted) = match end {
            End::Gone => ("\"unloaded\"", !swapped.notes.contains("resident")),
            End::Held(by) => (*by, swapped.notes.contains(by)),
        };
        if !found.contains(wanted) || !noted {
            wrong.push(format!("{place}: {found}, at its deploy: {}", swapped.notes));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    host.deploy(&fault("keeps"), "libhandler_v100.so").swapped();
    let text = "HOTSEAT_KEEPS=kept by a plugin kept by a plugin";
    host.get("/use").assert_status(200).assert_contains(text);
    host.assert_logged("kept by a plugin: said to the log");
    host.assert_logged("said to standard output");
    assert_eq!(host.worker_pid(), pid, "no worker was lost");
}

const KEEPER: &str = "
static int (*kept)(void);
void keeper_keep(int (*it)(void)) { kept = it; }
int keeper_call(void) { return kept ? kept() : -1; }
";

/// A library of C that keeps a function, in the folder of `builder`, where it is looked for; `None`
/// where there is no compiler.
fn with_keeper(builder: Builder) -> Option<(Builder, PathBuf)> {
    with_keeper_of(builder, KEEPER)
}

/// The same, made of `source`.
pub(super) fn with_keeper_of(builder: Builder, source: &str) -> Option<(Builder, PathBuf)> {
    let Some(compiler) = tool("cc") else {
        skip("there is no C compiler (`cc`)");
        return None;
    };
    let home = builder.home().clone();
    let source = home.write("keeper.c", source.as_bytes());
    let made = home.path().join("libkeeper.so");
    let arguments = ["-shared", "-fPIC", "-Wl,-soname,libkeeper.so", "-o"];
    let status = Command::new(compiler).args(arguments).arg(&made).arg(source).status().unwrap();
    assert!(status.success());
    Some((builder.env("LD_LIBRARY_PATH", home.path()), made))
}

/// A version of `keeps` that needs the library.
pub(super) fn needs_keeper(number: usize) -> Vec<u8> {
    const DT_NEEDED: u64 = 1;
    let bytes = library::bytes(&fault("keeps"));
    let wanted = b"\0libkeeper.so\0";
    let names = elf::section(&bytes, ".dynstr");
    let at = bytes[names].windows(wanted.len()).position(|it| it == wanted).unwrap() + 1;
    let bytes = elf::with_dynamic_entry(bytes, DT_NEEDED, u64::try_from(at).unwrap());
    [&bytes[..], &number.to_le_bytes()].concat()
}

pub(super) fn keeper_is_mapped(host: &Host) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", host.worker_pid())).unwrap();
    maps.contains("/libkeeper.so")
}

/// A library that a plugin has opened stays. While it has a function of the plugin, that stays, too,
/// and can be called; the status names the variable.
#[test]
fn a_callback_elsewhere_keeps_its_library() {
    let Some((builder, keeper)) = with_keeper(host!().with(fault("keeps"), "libhandler_v1.so"))
    else {
        return;
    };
    let host = builder.start();
    let ask = |what: &str| {
        let answer = host.get(&format!("/{what}?library={}", keeper.display()));
        answer.assert_status(200).text().to_owned()
    };
    ask("keep");
    host.deploy_bytes(&version_of("keeps", 2), "libhandler_v2.so").swapped();
    let found = kept_or_gone(&host, 1, "held by");
    assert!(found.contains("held by libkeeper.so+0x") && found.contains("(kept)"), "{found}");
    assert_eq!(ask("call"), "call 42", "it is there to be called");
    let mut events = host.events();
    ask("forget");
    events.wait_generation(1, "unloaded");
    assert_eq!(ask("call"), "call -1");
    // Long enough to be called resident: it is looked at all the same.
    ask("keep");
    host.deploy_bytes(&version_of("keeps", 3), "libhandler_v3.so").swapped();
    let resident = events.wait_generation(2, "resident");
    assert!(resident.detail.contains("held by libkeeper.so+0x"), "{}", resident.json);
    ask("forget");
    events.wait_generation(2, "unloaded");
}

/// A library that goes with the plugin may keep whatever it likes of it.
#[test]
fn what_goes_with_it_holds_nothing() {
    let Some((builder, _)) = with_keeper(host!()) else { return };
    let host = builder.start();
    let mut events = host.events();
    for number in 0..3 {
        let name = format!("libhandler_v{number}.so");
        let generation = host.deploy_bytes(&needs_keeper(number), &name).swapped().generation;
        host.get("/keep?library=libkeeper.so").assert_status(200);
        host.get("/call?library=libkeeper.so").assert_contains("call 42");
        assert!(keeper_is_mapped(&host));
        host.deploy(&fault("plain_v2"), "libhandler_v99.so").swapped();
        events.wait_generation(generation, "unloaded");
        assert!(!keeper_is_mapped(&host), "it goes with the plugin that needs it");
    }
}

/// One that two plugins need stays until both are gone.
#[test]
fn what_another_plugin_needs_holds_it() {
    let Some((builder, _)) = with_keeper(host!()) else { return };
    let host = builder.start();
    let mut events = host.events();
    host.deploy_bytes(&needs_keeper(1), "libother_v1.so").swapped();
    let generation = host.deploy_bytes(&needs_keeper(2), "libhandler_v1.so").swapped().generation;
    host.get("/keep?library=libkeeper.so").assert_status(200);
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let found = kept_or_gone(&host, generation, "held by");
    assert!(found.contains("held by libkeeper.so+0x"), "{found}");
    host.get("/other/call?library=libkeeper.so").assert_contains("call 42");
    host.control().unload("other").assert_status(200);
    events.wait_generation(generation, "unloaded");
    eventually!(!keeper_is_mapped(&host), "it goes with the last that needs it");
}

/// One that somebody has opened by itself stays as well, although only one plugin needs it: the
/// loader alone knows.
#[test]
fn what_somebody_has_opened_holds_it() {
    let Some((builder, keeper)) = with_keeper(host!()) else { return };
    let host = builder.start();
    let generation = host.deploy_bytes(&needs_keeper(1), "libhandler_v1.so").swapped().generation;
    host.deploy(&fault("keeps"), "libother_v1.so").swapped();
    let ask = |what: &str| {
        let answer = host.get(&format!("/other/{what}?library={}", keeper.display()));
        answer.assert_status(200).text().to_owned()
    };
    assert_eq!(ask("call"), "call -1");
    host.get("/keep?library=libkeeper.so").assert_status(200);
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let found = kept_or_gone(&host, generation, "held by");
    assert!(found.contains("held by libkeeper.so+0x"), "{found}");
    assert_eq!(ask("call"), "call 42");
    let mut events = host.events();
    ask("forget");
    events.wait_generation(generation, "unloaded");
    assert!(keeper_is_mapped(&host));
}

/// Twenty at one time, which share a library with one that stays. It keeps a function of one of
/// them, which alone waits until that is taken back.
#[test]
fn many_may_go_at_one_time() {
    const COUNT: usize = 20;
    let Some((builder, _)) = with_keeper(host!()) else { return };
    let host = builder.start();
    let name = |number: usize| format!("p{number}");
    let load = |number: usize| {
        let bytes = needs_keeper(number);
        host.deploy_bytes(&bytes, &format!("lib{}_v1.so", name(number))).swapped().generation
    };
    let generations: Vec<u64> = (0..=COUNT).map(load).collect();
    host.get("/p7/keep?library=libkeeper.so").assert_status(200);
    let control = host.control();
    thread::scope(|scope| {
        for number in 0..COUNT {
            let control = &control;
            scope.spawn(move || {
                control.unload(&name(number)).assert_status(200);
            });
        }
    });
    for (number, generation) in generations[..COUNT].iter().enumerate() {
        let found = kept_or_gone(&host, *generation, "held by libkeeper.so+0x");
        assert_eq!(found.contains("\"unloaded\""), number != 7, "{found}");
    }
    let last = name(COUNT);
    host.get(&format!("/{last}/call?library=libkeeper.so")).assert_contains("call 42");
    let mut events = host.events();
    host.get(&format!("/{last}/forget?library=libkeeper.so")).assert_status(200);
    events.wait_generation(generations[7], "unloaded");
    assert_eq!(host.loaded().len(), 1, "{:?}", host.loaded());
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0);
}

/// Nobody holds any of the libraries that the tests have: neither the examples nor the zoo, whatever
/// else may keep them. A new C library shows itself here.
#[test]
fn nobody_holds_the_examples_or_the_zoo() {
    // Each would use up the time of a preflight.
    let slow = ["constructor_hangs", "new_hangs", "self_test_hangs"];
    let folder = library::profile_dir().join("examples");
    let names = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name());
    let names = names.filter_map(|it| {
        let name = it.to_str()?.strip_prefix("lib")?.strip_suffix(".so")?.to_owned();
        (!name.contains('-') && !slow.contains(&name.as_str())).then_some(name)
    });
    let mut libraries: Vec<PathBuf> = names.map(|it| fault(&it)).collect();
    libraries.extend(["handler_v1", "handler_v2", "echo_v1", "counter_v1"].map(plugin));
    libraries.sort();
    assert!(libraries.len() > 50, "{libraries:?}");
    let host = crate::plain_host();
    let mut found = Vec::new();
    for (number, library) in libraries.iter().enumerate() {
        let offered = host.deploy(library, &format!("libhandler_v{number}.so"));
        if offered.answer.status != 200 {
            continue;
        }
        let generation = offered.swapped().generation;
        host.deploy_bytes(&version_of("plain_v1", number), "libhandler_v99.so").swapped();
        let end = ended_as(&host, generation, &["held by", "left", "handler of"]);
        if end.contains("held by") {
            found.push(format!("{}: {end}", library.display()));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
