//! What a load leaves behind although its library is gone is told, and nothing is said of one that
//! leaves nothing.

use hotseat_test_support::{Gate, Host, elf, eventually, fault, library, plugin, start_host, wire};

#[track_caller]
fn note_of(host: &Host, library: &std::path::Path, name: &str) -> String {
    host.deploy(library, name).swapped().notes
}

/// Two loads in the child: the second tells what each leaves, and is not tried again.
#[test]
fn a_deploy_says_what_each_load_leaves() {
    let host = start_host!();
    let note = note_of(&host, &fault("leaves_behind"), "libhandler_v1.so");
    assert!(note.contains("each load leaves 2 descriptors (socket) and 4"), "{note}");
    assert!(note.contains(" KiB behind"), "{note}");
}

/// Each version's copy of the standard library maps whole executables for its first backtrace.
#[test]
fn a_backtrace_leaves_what_it_was_read_from() {
    let host = start_host!();
    let note = note_of(&host, &fault("backtraces"), "libhandler_v1.so");
    assert!(note.contains("each load leaves ") && note.contains(" mapped files behind"), "{note}");
}

/// tokio's signal driver keeps a pair of sockets for the process, which goes with its library.
#[test]
fn tokio_s_signal_pipe_is_closed() {
    let host = start_host!();
    let sockets = || {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", host.worker_pid())).unwrap();
        let targets = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    let bytes = library::bytes(&fault("owns_threads"));
    let mut counts = Vec::new();
    for version in 1..=6_u8 {
        let bytes = [&bytes[..], &[version]].concat();
        let swapped = host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
        assert!(!swapped.notes.contains("leaves"), "{}", swapped.notes);
        let left = || {
            wire::list(&host.status(), "/retired")
                .iter()
                .filter(|it| it["life"] != "unloaded")
                .count()
        };
        eventually!(left() == 0, "{}", host.status());
        counts.push(sockets());
    }
    // Two a load would be ten; a connection of ours that is being closed is one.
    let few = |count: usize| count < counts[0] + 4;
    eventually!(few(sockets()), "{counts:?}");
}

#[test]
fn check_says_it_as_well() {
    let host = start_host!();
    let check = |library: &std::path::Path| {
        let output = host.command().arg("check").arg(library).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = check(&fault("leaves_behind"));
    assert!(told.contains("each load leaves 2 descriptors (socket) and 4"), "{told}");
    assert!(!check(&fault("plain_v1")).contains("leaves"));
}

/// The examples and the plugins that use most of the process.
#[test]
fn nothing_is_said_of_what_leaves_nothing() {
    let host = start_host!();
    let libraries = ["handler_v1", "handler_v2", "echo_v1", "counter_v1"].map(plugin);
    let faults = ["plain_v1", "hostile", "keys", "tls_destructor", "signals", "end_order"];
    for (number, library) in libraries.into_iter().chain(faults.map(fault)).enumerate() {
        let note = note_of(&host, &library, &format!("libhandler_v{number}.so"));
        assert!(!note.contains("leaves"), "{}: {note}", library.display());
    }
}

/// What the loader does to all threads for a library is told where it is deployed and checked.
#[test]
fn executable_stacks_are_told() {
    let host = start_host!();
    let bytes = elf::with_executable_stack(library::bytes(&fault("plain_v1")));
    let deployed = host.deploy_bytes(&bytes, "libhandler_v1.so").swapped();
    let path = host.home().path().join("libhandler_v1.so");
    let output = host.command().arg("check").arg(path).output().unwrap();
    let checked = String::from_utf8(output.stdout).unwrap();
    for said in [&deployed.notes, &checked] {
        assert!(said.contains("link it with `-Wl,-z,noexecstack`"), "{said}");
    }
}

/// A plugin that stays each time is one line with its threads by name, and its leaves stand beside what
/// serves.
#[test]
fn what_stays_is_grouped_with_its_threads() {
    let host = start_host!(fault("plain_v1"), "libhandler_v1.so");
    let bytes = library::bytes(&fault("end_order"));
    let gate = Gate::new();
    let mut waiting = Vec::new();
    for version in 2..5_u8 {
        let bytes = [&bytes[..], &[version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
        host.get(&format!("/?{}", gate.query())).assert_status(200);
        waiting.push(gate.entered());
    }
    // One more of the newest: how many there are is no other reason.
    host.get(&format!("/?{}", gate.query())).assert_status(200);
    waiting.push(gate.entered());
    let mut events = host.events();
    host.deploy(&fault("leaves_behind"), "libhandler_v5.so").swapped();
    // Each is given up by itself, after its time.
    events.wait_generation(4, "resident");
    let groups = || wire::list(&host.status(), "/residents");
    let whole = |groups: &[serde_json::Value]| {
        groups.len() == 1 && groups[0]["generations"] == serde_json::json!([2, 3, 4])
    };
    eventually!(whole(&groups()), "{:?}", groups());
    let group = &groups()[0];
    assert_eq!(group["threads"], serde_json::json!({ "left-behind": 4 }), "{group}");
    assert_eq!(group["why"], "2 threads left behind", "{group}");
    let plugin = wire::plugin(&host.status(), "handler");
    assert!(wire::text(&plugin, "/active/leaves").contains("2 descriptors"), "{plugin}");
    let control = host.control().address.to_string();
    let shown = host.command().args(["status", "--control", &control]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for text in
        ["(generations 4, 3, 2): 2 threads", "threads: 4 x left-behind", "note: handler: each"]
    {
        assert!(shown.contains(text), "`{text}` in\n{shown}");
    }
    drop(waiting);
}

/// A descriptor more with each swap, made by requests where no preflight sees it, becomes a warning.
#[test]
fn what_grows_with_swaps_is_warned_about() {
    let host = start_host!(fault("plain_v1"), "libhandler_v1.so");
    let bytes = library::bytes(&fault("leaves_behind"));
    let mut events = host.events();
    for number in 2..36_u8 {
        let bytes = [&bytes[..], &[number]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{number}.so")).swapped();
        host.get("/").assert_status(200);
        events.wait_generation(u64::from(number) - 1, "unloaded");
    }
    // Two point nine nine, where the control plane has one connection less at the end.
    host.assert_logged("each of the last 32 unloads left ");
    let status = host.status();
    assert!(status["growth"]["descriptors_per_swap"].as_f64() >= Some(2.5), "{status}");
    assert!(wire::number(&status, "/growth/bytes_per_swap") >= 90 << 10, "{status}");
    check_swaps(&host, &status);
}

/// The same by plugin: of each swap, the median of them for people, and beside it what the preflight
/// has counted, for whoever scrapes.
#[track_caller]
fn check_swaps(host: &Host, status: &serde_json::Value) {
    let swaps = wire::list(status, "/retired");
    let told = |it: &serde_json::Value, what: &str| it["left"][what].as_i64();
    let all = |what| swaps.iter().map(|it| told(it, what)).collect::<Vec<_>>();
    let whole = all("descriptors").into_iter().filter(|it| (2..=4).contains(&it.unwrap_or(0)));
    assert!(whole.count() > 24, "each leaves 3: {:?}", all("descriptors"));
    let heap = all("heap_bytes").into_iter().filter(|it| *it > Some(16 << 10));
    assert!(heap.count() > 24, "{:?}", all("heap_bytes"));
    let page = host.control().get("/metrics").text();
    for line in [
        "hotseat_load_leaves_descriptors{plugin=\"handler\"} 2",
        "hotseat_swap_leaves_descriptors{plugin=\"handler\"} 3",
        "hotseat_swap_leaves_resident_bytes{plugin=\"handler\"} ",
    ] {
        assert!(page.contains(line), "`{line}` in\n{page}");
    }
    let shown = host.control().get("/").text();
    assert!(shown.contains("left: handler: +3 descriptors, "), "{shown}");
}
