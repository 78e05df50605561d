//! Faults made byte by byte from a good 64-bit little-endian library.
//!
//! Owns the few offsets that tests patch. # Source: elf(5).

/// `e_type` of an executable that cannot be loaded.
pub const ET_EXEC: u16 = 2;
/// `e_machine` of IBM S/390, a machine that no test runs on.
pub const EM_S390: u16 = 22;
/// Bit of `DT_FLAGS`: relocations in the text segment.
pub const DF_TEXTREL: u64 = 0x4;
/// Bit of `DT_FLAGS_1`: never unmapped.
pub const DF_1_NODELETE: u64 = 0x8;
/// Tag of `DT_FLAGS`.
pub const DT_FLAGS: u64 = 30;
/// Tag of `DT_NEEDED`: a library that must be there as well.
pub const DT_NEEDED: u64 = 1;
/// Tag of `DT_FLAGS_1`.
pub const DT_FLAGS_1: u64 = 0x6fff_fffb;

/// Tag of `DT_RUNPATH`.
pub const DT_RUNPATH: u64 = 29;

const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u8 = 1;

const DT_RELACOUNT: u64 = 0x6fff_fff9;
const PT_DYNAMIC: u32 = 2;

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |all, byte| (all << 8) | u64::from(*byte))
}

fn index(bytes: &[u8], at: usize, len: usize) -> usize {
    usize::try_from(number(bytes, at, len)).expect("an offset in a library of this machine")
}

/// Where the section `name` is.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn section(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    let (start, step, count) = (index(bytes, 40, 8), index(bytes, 58, 2), index(bytes, 60, 2));
    let headers = (0..count).map(|n| start + n * step);
    let names = index(bytes, start + index(bytes, 62, 2) * step + 24, 8);
    let wanted = [name.as_bytes(), b"\0"].concat();
    let is_it = |at: &usize| bytes[names + index(bytes, *at, 4)..].starts_with(&wanted);
    let header = headers.clone().find(is_it);
    let header = header.unwrap_or_else(|| panic!("there is no section `{name}`"));
    let offset = index(bytes, header + 24, 8);
    offset..offset + index(bytes, header + 32, 8)
}

/// Another `e_machine`.
#[must_use]
pub fn with_machine(mut bytes: Vec<u8>, machine: u16) -> Vec<u8> {
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// Another `e_type`.
#[must_use]
pub fn with_type(mut bytes: Vec<u8>, kind: u16) -> Vec<u8> {
    bytes[16..18].copy_from_slice(&kind.to_le_bytes());
    bytes
}

/// Claims to be 32-bit.
#[must_use]
pub fn with_class_32(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[4] = 1;
    bytes
}

/// The same plugin, as if it had been built for another minor version of the binary interface: both
/// places that say so are changed, the root module and the manifest.
///
/// # Panics
/// When they are not where one of this build has them.
#[must_use]
#[track_caller]
pub fn with_abi_minor(mut bytes: Vec<u8>, from: u8, to: u8) -> Vec<u8> {
    // Major, minor, a reserved zero, and the one feature that it needs.
    let root = |minor: u8| [1, 0, minor, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let text = |minor: u8| format!("\nabi=1.{minor}\n").into_bytes();
    for (known, new) in [(root(from).to_vec(), root(to).to_vec()), (text(from), text(to))] {
        let places = bytes.windows(known.len()).enumerate().filter(|(_, it)| *it == known);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        assert_eq!(places.len(), 1, "{known:?} is there once");
        bytes[places[0]..places[0] + new.len()].copy_from_slice(&new);
    }
    bytes
}

/// Where the program header of this type is.
#[track_caller]
fn program_header(bytes: &[u8], kind: u32) -> usize {
    let (start, step, count) = (index(bytes, 32, 8), index(bytes, 54, 2), index(bytes, 56, 2));
    (0..count)
        .map(|n| start + n * step)
        .find(|at| number(bytes, *at, 4) == u64::from(kind))
        .expect("a library has such a segment")
}

/// Asks for stacks whose content can be run.
///
/// # Panics
/// When it says nothing of stacks.
#[must_use]
#[track_caller]
pub fn with_executable_stack(mut bytes: Vec<u8>) -> Vec<u8> {
    let header = program_header(&bytes, PT_GNU_STACK);
    bytes[header + 4] |= PF_X;
    bytes
}

/// Where the dynamic entries are.
fn dynamic_entries(bytes: &[u8]) -> Vec<usize> {
    let header = program_header(bytes, PT_DYNAMIC);
    let (offset, size) = (index(bytes, header + 8, 8), index(bytes, header + 32, 8));
    (offset..offset + size).step_by(16).collect()
}

/// Puts a dynamic entry in the place of `DT_RELACOUNT`, which nobody needs.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn with_dynamic_entry(bytes: Vec<u8>, tag: u64, value: u64) -> Vec<u8> {
    with_entry_in_place_of(bytes, DT_RELACOUNT, tag, value)
}

/// Puts a dynamic entry in the place of that with the tag `other`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn with_entry_in_place_of(mut bytes: Vec<u8>, other: u64, tag: u64, value: u64) -> Vec<u8> {
    let at = dynamic_entries(&bytes).into_iter().find(|at| number(&bytes, *at, 8) == other);
    let at = at.expect("there is such an entry");
    bytes[at..at + 8].copy_from_slice(&tag.to_le_bytes());
    bytes[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// Sets `bits` in the dynamic entry `tag`; where there is none, a spare `DT_NULL` becomes one.
///
/// # Panics
/// When there is neither.
#[must_use]
pub fn with_dynamic_bits(mut bytes: Vec<u8>, tag: u64, bits: u64) -> Vec<u8> {
    let entries = dynamic_entries(&bytes);
    let spare = entries.iter().position(|at| number(&bytes, *at, 8) == 0);
    let at = match entries.iter().find(|at| number(&bytes, **at, 8) == tag) {
        Some(at) => *at,
        None => {
            let spare = spare.expect("the dynamic section ends with a null entry");
            assert!(spare + 1 < entries.len(), "no spare entry in the dynamic section");
            entries[spare]
        }
    };
    let value = if number(&bytes, at, 8) == tag { number(&bytes, at + 8, 8) } else { 0 };
    bytes[at..at + 8].copy_from_slice(&tag.to_le_bytes());
    bytes[at + 8..at + 16].copy_from_slice(&(value | bits).to_le_bytes());
    bytes
}

/// Replaces every occurrence of `from` by `to` of the same length.
///
/// # Panics
/// When there is none, or the lengths differ.
#[must_use]
#[track_caller]
pub fn with_text(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a patch keeps its place");
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "`{from}` is not in the library");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}
