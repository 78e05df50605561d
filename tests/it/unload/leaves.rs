//! What a load leaves behind although its library is gone is told, and nothing is said of one that
//! leaves nothing.

use hotseat_test_support::{Host, fault, plugin, start_host};

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

/// tokio's signal driver keeps a pair of sockets for the process.
#[test]
fn tokio_s_signal_pipe_is_told() {
    let host = start_host!();
    let note = note_of(&host, &fault("owns_threads"), "libhandler_v1.so");
    assert!(note.contains("each load leaves 2 descriptors (socket)"), "{note}");
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
