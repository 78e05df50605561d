//! Marks of every kind, in files of every kind.

use super::*;
use crate::artifact::elf::{fixture::Fixture, verify};

const FLAGS_1: u64 = 0x6fff_fffb;
const UNIQUE_OBJECT: u8 = 0xa1;
const WEAK_OBJECT: u8 = 0x21;
const UNIQUE: (&[u8], bool, u8) = (b"unique\0", true, UNIQUE_OBJECT);

fn marked(flags: u64, unique: usize) -> Fixture {
    let mut fixture = Fixture::new("handler_v2");
    fixture.dynamic.push((FLAGS_1, flags));
    for _ in 0..unique {
        fixture.symbols.push(UNIQUE);
        fixture.symbols.push((b"another\0", true, 0x11));
    }
    fixture
}

/// The bytes that differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<(u8, u8)> {
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(after).filter(|(before, after)| before != after);
    pairs.map(|(before, after)| (*before, *after)).collect()
}

#[test]
fn only_the_marks_are_taken_away() {
    // INITFIRST (0x20) and NOW (1) stay.
    for (flags, left) in [(0x8, 0x0), (0x29, 0x21)] {
        let file = marked(flags, 0).build();
        let unmarked = without(&file).unwrap();
        assert_eq!((unmarked.nodelete, unmarked.unique_count), (true, 0));
        assert_eq!(changed(&file, &unmarked.bytes), [(u8::try_from(flags).unwrap(), left)]);
        assert_eq!(without(&unmarked.bytes), None, "nothing is left");
        assert!(!verify(&unmarked.bytes).unwrap().nodelete);
    }
    assert_eq!(without(&marked(0x21, 0).build()), None);
    assert_eq!(without(&Fixture::new("handler_v2").build()), None);
}

#[test]
fn unique_symbols_become_weak_ones() {
    let mut fixture = marked(0x8, 3);
    // Somebody else's is not this library's to change.
    fixture.symbols.push((b"elsewhere\0", false, UNIQUE_OBJECT));
    let file = fixture.build();
    let unmarked = without(&file).unwrap();
    assert_eq!((unmarked.nodelete, unmarked.unique_count), (true, 3));
    let mut expected = vec![(UNIQUE_OBJECT, WEAK_OBJECT); 3];
    expected.push((0x8, 0));
    let mut found = changed(&file, &unmarked.bytes);
    found.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(found, expected);
    assert!(!verify(&unmarked.bytes).unwrap().unique_symbols);
}

/// How many symbols there are is found without a section table, too; never by where the names are.
#[test]
fn symbols_are_counted_in_every_way() {
    for count in [1, 50_000] {
        let mut fixture = marked(0, count);
        for (bare, hash) in [(false, false), (false, true), (true, true)] {
            (fixture.bare, fixture.hash) = (bare, hash);
            let unmarked = without(&fixture.build()).unwrap();
            assert_eq!(unmarked.unique_count, count, "bare: {bare}, hash: {hash}");
        }
        (fixture.bare, fixture.hash) = (true, false);
        assert_eq!(without(&fixture.build()), None, "nobody says how many");
    }
}

/// Whatever the file claims, nothing is read or written outside of it.
#[test]
fn a_damaged_file_is_left_alone() {
    let mut fixture = marked(0x8, 2);
    fixture.hash = true;
    for bare in [false, true] {
        fixture.bare = bare;
        let file = fixture.build();
        for length in (0..file.len()).step_by(7) {
            let _ = without(&file[..length]);
        }
        for at in 0..file.len() {
            for value in [0, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = value;
                let length = file.len();
                assert!(without(&file).is_none_or(|it| it.bytes.len() == length));
            }
        }
    }
    assert_eq!(without(b""), None);
    assert_eq!(without(&[0xff; 4096]), None);
}

#[test]
fn what_was_done_is_said() {
    let note = |flags, unique| without(&marked(flags, unique).build()).unwrap().note();
    let unloads = "left out of the host's copy, which unloads";
    assert_eq!(note(8, 0), format!("its mark to stay loaded (DF_1_NODELETE) is {unloads}"));
    let isolated = "; its statics are isolated from other versions";
    assert_eq!(note(0, 1), format!("the mark of 1 unique symbol is {unloads}{isolated}"));
    assert!(note(8, 2).contains("(DF_1_NODELETE) and the marks of 2 unique symbols"));
}
