//! Small programs, spoilt one by one.

use super::{super::fixture, *};

fn verdict(bytes: &[u8]) -> Result<(), NoProgram> {
    check(bytes.len() as u64, |at, length| {
        let from = usize::try_from(at).unwrap().min(bytes.len());
        Ok(bytes[from..bytes.len().min(from + length)].to_vec())
    })
}

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let text = verdict(bytes).unwrap_err().to_string();
    assert!(text.contains(words), "no `{words}` in: {text}");
}

/// A library that is one, unless something says otherwise.
fn library() -> fixture::Fixture {
    fixture::Fixture::new("program")
}

fn program() -> Vec<u8> {
    fixture::Fixture { interpreter: true, ..library() }.build()
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = program();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    all
}

#[test]
fn programs_of_every_kind_are_taken() {
    assert_eq!(verdict(&program()), Ok(()));
    let pie = vec![(format::DT_FLAGS_1.0.cast_unsigned(), format::DF_1_PIE.0)];
    assert_eq!(verdict(&fixture::Fixture { dynamic: pie, ..library() }.build()), Ok(()));
    let mut fixed = library().build();
    fixed[16] = 2;
    assert_eq!(verdict(&fixed), Ok(()));
    // This very test.
    let own = std::fs::read("/proc/self/exe").unwrap();
    assert_eq!(verdict(&own), Ok(()));
}

#[test]
fn what_is_no_program_is_named() {
    refused(&library().build(), "it is no program but a library");
    refused(&with(16, &[1, 0]), "an object file");
    refused(&with(16, &[4, 0]), "a core dump");
    refused(b"#!/bin/sh\nexit 0\n", "it is no ELF binary: it looks like a script");
    refused(b"hello", "looks like text");
    refused(&with(56, &[0, 0]), "a file without code");
    refused(&with(54, &[1, 0]), "tables of another kind");
}

#[test]
fn another_machine_is_named() {
    let own = if cfg!(target_arch = "x86_64") { "x86-64" } else { "aarch64" };
    refused(&with(18, &[22, 0]), &format!("it is built for s390x, this machine is {own}"));
    refused(&with(4, &[1]), "it is built for 32 bit");
    refused(&with(5, &[2]), "big-endian, this machine");
}

/// At whatever place it ends.
#[test]
fn a_truncated_program_is_none() {
    let whole = program();
    for end in 4..whole.len() {
        let text = verdict(&whole[..end]).unwrap_err().to_string();
        assert!(text.starts_with("it is truncated: it has "), "{end}: {text}");
    }
}

/// Offsets are claims.
#[test]
fn no_offset_is_believed() {
    for at in (32..64).step_by(2) {
        for value in [[0xff, 0xff], [0, 0xff], [0xff, 0]] {
            // Any verdict will do: it must not panic.
            let _ = verdict(&with(at, &value));
        }
    }
    refused(&with(32, &[0xff; 8]), "truncated");
    refused(&with(40, &[0xff; 8]), "truncated");
}
