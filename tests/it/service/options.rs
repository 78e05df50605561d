//! The size of a plugin's runtime, and how long its end may take.

use hotseat_test_support::{fault, start_host};

/// `RuntimeOptions` are those of the plugin.
#[test]
fn a_runtime_has_the_size_that_was_asked_for() {
    let host = start_host!(fault("own_options"), "libhandler_v1.so");
    assert_eq!(host.get("/threads").text(), "3");
    assert_eq!(host.get("/blocking").text(), "2");
}

/// Blocking code that ends within `stop_time` keeps nothing, although it still ran when the version was
/// at its end.
#[test]
fn blocking_code_has_its_time_to_end() {
    let host = start_host!(fault("own_options"), "libhandler_v1.so");
    host.get("/ends").assert_status(200);
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.assert_all_unloaded("own_options");
}

/// What takes longer keeps its thread, and that keeps the library.
#[test]
fn blocking_code_that_does_not_end_keeps_its_library() {
    let host = start_host!(fault("own_options"), "libhandler_v1.so");
    host.get("/stays").assert_status(200);
    crate::unload::check_resident(&host, "own_options", "1 thread left behind");
}

/// A runtime that nobody drops has threads that nobody ends.
#[test]
fn a_runtime_in_a_static_keeps_its_library() {
    let host = start_host!(fault("static_runtime"), "libhandler_v1.so");
    crate::unload::check_resident(&host, "static_runtime", "1 thread left behind");
}
