//! Libraries that need others.

use hotseat_test_support::{elf, fault, host, library};

/// A library that needs one that is nowhere, and says where to look for it.
fn needs_companion() -> Vec<u8> {
    let bytes = library::bytes(&fault("plain_v1"));
    let bytes = elf::with_text(bytes, "libgcc_s.so.1", "libgcc_x.so.1");
    // A symbol that is nowhere anyway lends the room for its name.
    let places = "$ORIGIN:/opt/companions/lib";
    let bytes = elf::with_text(bytes, "_ITM_deregisterTMCloneTable", places);
    let names = elf::section(&bytes, ".dynstr");
    let at = bytes[names].windows(places.len()).position(|it| it == places.as_bytes());
    elf::with_dynamic_entry(bytes, elf::DT_RUNPATH, u64::try_from(at.unwrap()).unwrap())
}

/// Which one is missing, where it was looked for, and why `$ORIGIN` does not help.
#[test]
fn a_missing_library_and_its_places_are_named() {
    let host = host!().env("LD_LIBRARY_PATH", "").start();
    let refused = host.deploy_bytes(&needs_companion(), "libhandler_v1.so");
    let refused = refused.assert_refused(422, "dlopen_failed");
    for words in [
        "`libgcc_x.so.1`",
        "`$ORIGIN`",
        "private copy",
        "`/opt/companions/lib`",
        "not set",
        "-rpath",
    ] {
        assert!(refused.hint.contains(words), "no `{words}` in {refused:?}");
    }
    let host = host!().env("LD_LIBRARY_PATH", "/opt/mine").start();
    let plain = library::bytes(&fault("plain_v1"));
    let plain = elf::with_text(plain, "libgcc_s.so.1", "libgcc_x.so.1");
    let refused = host.deploy_bytes(&plain, "libhandler_v1.so").refused();
    assert!(
        refused.hint.contains("`/opt/mine`") && !refused.hint.contains("ORIGIN"),
        "{refused:?}"
    );
}
