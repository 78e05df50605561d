//! Faults in the bytes: found by reading, before any of it runs.

use hotseat_test_support::{
    elf::{self, DF_TEXTREL, DT_FLAGS, EM_S390, ET_EXEC},
    fault, library,
};

use super::{OFFERED, check, check_with, refused};

fn good() -> Vec<u8> {
    library::bytes(&fault("plain_v2"))
}

/// The first `share` hundredths of a good library.
fn truncated(share: usize) -> Vec<u8> {
    let mut bytes = good();
    bytes.truncate(bytes.len() * share / 100);
    bytes
}

refused! {
    /// A shell script under a library's name.
    script: 422 "not_elf" = |host| host.deploy_bytes(b"#!/bin/sh\nexit 0\n", OFFERED);
    /// A text.
    text: 422 "not_elf" = |host| host.deploy_bytes(b"this is no library\n", OFFERED);
    /// A static library: the wrong `crate-type`.
    archive: 422 "not_elf" = |host| host.deploy_bytes(b"!<arch>\n/               0", OFFERED);
    /// Zeros.
    zeros: 422 "not_elf" = |host| host.deploy_bytes(&[0; 8192], OFFERED);
    /// Nothing at all.
    empty: 422 "empty_file" = |host| host.deploy_bytes(b"", OFFERED);
    /// A library of another machine.
    other_machine: 422 "wrong_machine" =
        |host| host.deploy_bytes(&elf::with_machine(good(), EM_S390), OFFERED);
    /// A 32-bit library.
    other_class: 422 "wrong_class" =
        |host| host.deploy_bytes(&elf::with_class_32(good()), OFFERED);
    /// Claims to be an executable.
    executable_type: 422 "not_a_library" =
        |host| host.deploy_bytes(&elf::with_type(good(), ET_EXEC), OFFERED);
    /// Ends within its header.
    truncated_in_the_header: 422 "truncated" =
        |host| host.deploy_bytes(&good()[..40], OFFERED);
    /// Ends within its program headers.
    truncated_in_the_program_headers: 422 "truncated" =
        |host| host.deploy_bytes(&good()[..100], OFFERED);
    /// Ends within its first segment.
    truncated_early: 422 "truncated" = |host| host.deploy_bytes(&truncated(10), OFFERED);
    /// Ends in its middle.
    truncated_in_the_middle: 422 "truncated" = |host| host.deploy_bytes(&truncated(50), OFFERED);
    /// All but the end, where the section headers are: loadable, and yet not what was built.
    truncated_late: 422 "truncated" = |host| host.deploy_bytes(&truncated(99), OFFERED);
    /// Wants relocations in its code.
    text_relocations: 422 "text_relocations" =
        |host| host.deploy_bytes(&elf::with_dynamic_bits(good(), DT_FLAGS, DF_TEXTREL), OFFERED);
    /// A good library that is no plugin.
    no_entry: 422 "not_a_plugin" = |host| host.deploy(&fault("no_entry"), OFFERED);
    /// Built against another major version of the ABI.
    other_abi_major: 422 "abi_mismatch" = |host| {
        let bytes = elf::with_text(good(), "hotseat-manifest 1\nabi=1.", "hotseat-manifest 1\nabi=9.");
        host.deploy_bytes(&bytes, OFFERED)
    };
    /// Needs a feature that this host does not have.
    newer_feature: 422 "feature_unknown" = |host| {
        let bytes = elf::with_text(good(), "requires=0x0000000000000001", "requires=0x8000000000000001");
        host.deploy_bytes(&bytes, OFFERED)
    };
    /// Its manifest was damaged.
    manifest_damaged: 422 "manifest_unreadable" = |host| {
        let bytes = elf::with_text(good(), "requires=0x0000000000000001", "requires=0xzzzzzzzzzzzzzzzz");
        host.deploy_bytes(&bytes, OFFERED)
    };
    /// Its manifest has a format of the future.
    manifest_of_the_future: 422 "manifest_unreadable" = |host| {
        let bytes = elf::with_text(good(), "hotseat-manifest 1\n", "hotseat-manifest 7\n");
        host.deploy_bytes(&bytes, OFFERED)
    };
    /// Says itself that it aborts on a panic.
    panic_abort: 422 "panic_abort" = |host| {
        let bytes = elf::with_text(good(), "\npanic=unwind\n", "\npanic=abort!\n");
        host.deploy_bytes(&bytes, OFFERED)
    };
}

/// The host's own executable: the right machine, the wrong kind of file.
#[test]
fn executable() {
    check(
        |host| host.deploy(std::path::Path::new(env!("CARGO_BIN_EXE_hotseat")), OFFERED),
        422,
        "not_a_library",
    );
}

/// A sparse file just over the limit: refused by its size, unread.
#[test]
fn huge() {
    let host = hotseat_test_support::host!()
        .arg("--library-bytes=64MiB")
        .with(fault("gate"), "libhandler_v1.so")
        .start();
    check_with(
        &host,
        |host| {
            let path = host.home().write(OFFERED, b"");
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len((64 << 20) + 1).unwrap();
            host.control().deploy(path)
        },
        413,
        "too_large",
    );
}
