//! What is refused about a file, told by a small ELF with one thing wrong at a time.

use super::{
    fixture::{Fixture, library},
    *,
};
use crate::error::Coded as _;

#[track_caller]
fn check(bytes: &[u8], code: &str) -> ElfError {
    let error = verify(bytes).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
    assert!(!error.to_string().contains('\n'));
    error
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = library("handler_v2");
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn with_manifest(from: &str, to: &str) -> Vec<u8> {
    let mut fixture = Fixture::new("handler_v2");
    assert!(fixture.manifest.contains(from));
    fixture.manifest = fixture.manifest.replace(from, to);
    fixture.build()
}

#[test]
fn a_plugin_library_is_accepted_with_its_facts() {
    let facts = verify(&library("handler_v2")).unwrap();
    assert_eq!(facts.manifest.crate_name, "handler_v2");
    assert_eq!(facts.needed, ["libc.so.6"]);
    assert!(!facts.nodelete && !facts.unique_symbols);
    let mut fixture = Fixture::new("handler_v2");
    fixture.dynamic.push((0x6fff_fffb, 0x8));
    fixture.symbols.push((b"unique\0", true, 0xa1));
    let facts = verify(&fixture.build()).unwrap();
    assert!(facts.nodelete && facts.unique_symbols);
}

#[test]
fn what_is_not_elf_is_named() {
    let looks = |bytes: &[u8]| check(bytes, "not_elf").to_string();
    assert!(looks(b"!<arch>\nlib.rmeta/").contains("static archive"));
    assert!(looks(b"#!/bin/sh\n").contains("a script"));
    assert!(looks("Grüße\n".as_bytes()).contains("text"));
    assert!(looks(b"MZ\x90\0").contains("Windows"));
    assert!(looks(&[0xcf, 0xfa, 0xed, 0xfe, 7]).contains("macOS"));
    assert!(looks(&[0, 1, 2, 3]).contains("other data"));
    assert!(looks(&[0; 0]).contains("text"));
}

#[test]
fn other_machines_and_kinds_are_named() {
    assert!(check(&patched(4, &[1]), "wrong_class").to_string().contains("32 bit"));
    let (other, name) =
        if cfg!(target_arch = "x86_64") { (183, "aarch64") } else { (62, "x86_64") };
    assert!(check(&patched(18, &[other]), "wrong_machine").to_string().contains(name));
    assert!(check(&patched(18, &[243]), "wrong_machine").to_string().contains("riscv"));
    check(&patched(5, &[2]), "wrong_machine");
    assert!(check(&patched(16, &[1]), "not_a_library").to_string().contains("object file"));
    assert!(check(&patched(16, &[2]), "not_a_library").to_string().contains("executable"));
    let mut fixture = Fixture::new("handler_v2");
    fixture.interpreter = true;
    check(&fixture.build(), "not_a_library");
    let mut fixture = Fixture::new("handler_v2");
    fixture.dynamic.push((0x6fff_fffb, 0x0800_0000));
    check(&fixture.build(), "not_a_library");
}

#[test]
fn missing_parts_have_a_code_each() {
    let whole = Fixture::new("handler_v2");
    check(&whole.clone().without(ROOT_SYMBOL).build(), "not_a_plugin");
    check(&whole.clone().without(manifest::SYMBOL).build(), "manifest_missing");
    check(&whole.clone().without(UNWIND_SYMBOL).build(), "panic_abort");
    let mut imported = whole;
    imported.symbols[0].1 = false;
    check(&imported.build(), "not_a_plugin");
    for flags in [(22, 0), (30, 4)] {
        let mut fixture = Fixture::new("handler_v2");
        fixture.dynamic.push(flags);
        check(&fixture.build(), "text_relocations");
    }
}

#[test]
fn promises_that_this_host_cannot_keep_are_refused() {
    let error = check(&with_manifest("abi=1.0", "abi=2.0"), "abi_mismatch");
    assert!(error.to_string().contains("2.0"), "{error}");
    assert!(error.hint().unwrap().contains("hotseat-plugin-api"), "{error:?}");
    check(&with_manifest("0x0000000000000001", "0x8000000000000001"), "feature_unknown");
    verify(&with_manifest("abi=1.0", "abi=1.9")).expect("a newer minor with known features");
    check(&with_manifest("panic=unwind", "panic=abort"), "panic_abort");
    check(&with_manifest("hotseat-manifest 1", "hotseat-manifest 7"), "manifest_unreadable");
}

#[test]
fn a_file_that_ends_early_is_truncated_wherever_it_ends() {
    let file = library("handler_v2");
    for len in 4..file.len() {
        check(&file[..len], "truncated");
    }
}

/// Every byte of a small library is set to several values and every pair of neighbours to the
/// largest number: whatever the tables claim then, the reader answers and does not panic.
#[test]
fn no_byte_makes_it_panic() {
    let whole = library("handler_v2");
    let mut refused = 0;
    for at in 0..whole.len() {
        let flips = [0x01, 0x80, 0xff].map(|mask| whole[at] ^ mask);
        for value in flips.into_iter().chain([0, 0x7f, 0xff]) {
            let mut file = whole.clone();
            file[at] = value;
            refused += usize::from(verify(&file).is_err());
        }
        let mut file = whole.clone();
        file[at..whole.len().min(at + 8)].fill(0xff);
        refused += usize::from(verify(&file).is_err());
    }
    assert!(refused > whole.len(), "the mutations did reach what is checked: {refused}");
}

/// The libraries and the executable of this very process are real ELF files, and no plugins.
#[test]
fn real_files_are_read_and_refused() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let files: std::collections::BTreeSet<_> = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| format!("/{path}"))
        .filter(|path| path.contains("libgcc_s"))
        .collect();
    assert!(!files.is_empty(), "a Rust test executable maps libgcc_s");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        check(&bytes, "not_a_plugin");
        for len in (64..bytes.len()).step_by(bytes.len() / 64) {
            check(&bytes[..len], "truncated");
        }
    }
    let own = std::fs::read("/proc/self/exe").unwrap();
    check(&own, "not_a_library");
}
