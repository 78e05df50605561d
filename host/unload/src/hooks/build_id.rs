//! What the linker has made of an object's content, as the object has it in memory.

use super::{memory, objects::Loaded};

/// Type of the note with the build id. Source: `<elf.h>`.
const NT_GNU_BUILD_ID: u32 = 3;
/// Units: bytes of a build id that is looked at.
const BUILD_ID_BYTES_MAX: usize = 64;

/// The build id of a loaded object.
pub(super) fn of(object: &Loaded) -> Option<Vec<u8>> {
    let found = |(range, align): &(_, _)| in_notes(&memory::bytes(range)?, *align);
    object.notes.iter().find_map(found)
}

/// The build id among notes that are aligned so.
fn in_notes(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    let align = if align == 8 { 8 } else { 4 };
    let number =
        |notes: &[u8], at: usize| Some(u32::from_ne_bytes(*notes.get(at..)?.first_chunk()?));
    loop {
        let [name, size] = [0, 4].map(|at| number(notes, at));
        let (name, size) = (usize::try_from(name?).ok()?, usize::try_from(size?).ok()?);
        let kind = number(notes, 8)?;
        let at = 12_usize.checked_add(name)?.checked_next_multiple_of(align)?;
        let end = at.checked_add(size)?;
        let wanted = kind == NT_GNU_BUILD_ID && notes.get(12..)?.starts_with(b"GNU\0");
        if wanted && name == 4 && (1..=BUILD_ID_BYTES_MAX).contains(&size) {
            return notes.get(at..end).map(<[u8]>::to_vec);
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_are_found_among_notes() {
        let note = |name: &[u8], kind: u32, value: &[u8], align: usize| {
            let mut bytes = Vec::new();
            for number in [name.len(), value.len()].map(|it| u32::try_from(it).unwrap()) {
                bytes.extend(number.to_ne_bytes());
            }
            bytes.extend(kind.to_ne_bytes());
            for part in [name, value] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(align), 0);
            }
            bytes
        };
        let id = [1, 2, 3, 4, 5];
        for align in [4, 8] {
            let other = note(b"GNU\0", 5, &[9; 16], align);
            let foreign = note(b"Go\0\0", NT_GNU_BUILD_ID, &[8; 3], align);
            let wanted = note(b"GNU\0", NT_GNU_BUILD_ID, &id, align);
            let all = [other.clone(), foreign, wanted].concat();
            assert_eq!(in_notes(&all, align), Some(id.to_vec()));
            assert_eq!(in_notes(&other, align), None);
            for end in 0..all.len() {
                // Cut short anywhere: nothing, or the whole.
                assert!(in_notes(&all[..end], align).is_none_or(|it| it == id));
            }
        }
        let endless = note(b"GNU\0", NT_GNU_BUILD_ID, &[], 4);
        assert_eq!(in_notes(&endless, 4), None);
        assert_eq!(in_notes(&[0xff; 64], 4), None);
    }
}
