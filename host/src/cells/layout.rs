//! Where everything lies in the file, and the two records that are written as one piece.
//!
//! Owns the numbers of the layout and the form of a [`Header`] and a [`Slot`]. Reads and writes
//! nothing.
//!
//! The file is as large as all that could ever be in it, and sparse: what nobody has written takes
//! no memory. So every plugin, key and value has a fixed place, and there is no allocator whose
//! books could be torn. A key's slot has two places for its value, of which the slot names one;
//! the next value goes to the other one.
//!
//! ```text
//! 0            magic, layout, how many plugins, whether the disk was read
//! 2 KiB        whether it has values of a plugin that are not here, a byte each
//! 4 KiB        names of plugins, 128 bytes each
//! (n+1) << 44  the area of plugin n:  header   64 bytes
//!    + 4 KiB                          slots    256 bytes each: record, key
//!    + 4 GiB                          values   two places of 64 MiB for each slot
//! ```

/// What the file begins with.
pub(super) const MAGIC: [u8; 16] = *b"hotseat cells\n\0\0";
/// Which layout this build knows; any other one is refused.
pub(super) const LAYOUT: u64 = 1;

/// Where the layout stands.
pub(super) const LAYOUT_AT: u64 = 16;
/// Where the number of names stands.
pub(super) const PLUGINS_AT: u64 = 24;
/// Where it stands that what the disk had is in; the lock of whoever sees to it is the byte there.
pub(super) const SEEDED_AT: u64 = 32;
/// It is in, but for what is left out.
pub(super) const SEEDED: u64 = 1;
/// It may not be, and nobody can say of which plugins.
pub(super) const SEEDED_IN_PART: u64 = 2;

/// Where it stands which plugins' files were not taken in whole, a byte each.
const LEFT_OUT_AT: u64 = 2048;

/// Plugins that can have cells, by all names that there ever were.
pub(super) const PLUGINS_MAX: u64 = 1024;
/// Values that one plugin can have.
pub const VALUES_MAX: u64 = 1 << 16;
/// A value. Units: bytes.
pub const VALUE_BYTES_MAX: u64 = 64 << 20;
/// A key. Units: bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// A name's place. Units: bytes.
pub(super) const NAME_BYTES: usize = 128;
/// A page of memory, below which nothing is given back. Units: bytes.
pub(super) const PAGE: u64 = 4096;
const AREA: u64 = 1 << 44;
/// A slot with its key. Units: bytes.
pub(super) const SLOT_BYTES: usize = 256;
/// The record at a slot's beginning; the key follows. Units: bytes.
pub(super) const RECORD_BYTES: usize = 64;
const VALUES: u64 = 1 << 32;

/// The whole file. Units: bytes.
pub(super) const FILE_BYTES: u64 = (PLUGINS_MAX + 1) * AREA;

pub(super) fn name_at(plugin: u64) -> u64 {
    PAGE + plugin * NAME_BYTES as u64
}

/// Where it stands that the disk has values of the plugin of this area that are not in it.
pub(super) fn left_out_at(area: u64) -> u64 {
    LEFT_OUT_AT + area / AREA - 1
}

/// Where a plugin's area begins; its lock is the byte there.
pub(super) fn area_at(plugin: u64) -> u64 {
    (plugin + 1) * AREA
}

pub(super) fn slot_at(area: u64, slot: u32) -> u64 {
    area + PAGE + u64::from(slot) * SLOT_BYTES as u64
}

/// Where a slot's value lies, in the first (0) or second (1) of its places.
pub(super) fn value_at(area: u64, slot: u32, side: u64) -> u64 {
    area + VALUES + (u64::from(slot) * 2 + side) * VALUE_BYTES_MAX
}

/// A sum that a byte which was changed by accident does not leave as it is. Nothing against intent.
pub(super) fn sum(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let mut words = bytes.chunks_exact(8);
    let all = words.by_ref().map(|it| it.try_into().map_or(0, u64::from_le_bytes));
    let whole = all.fold(seed ^ FACTOR, step);
    let mut rest = [0; 8];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    let ends = step(step(whole, u64::from_le_bytes(rest)), bytes.len() as u64);
    (ends ^ (ends >> 32)).wrapping_mul(FACTOR)
}

/// Eight words, which begin and end a page with others of their kind: one write of them is not
/// divided by a signal, for which the kernel looks between two pages.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Words([u8; RECORD_BYTES]);

impl Words {
    fn of(words: [u64; 7], seed: u64) -> Self {
        let mut bytes = [0; RECORD_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let sum = sum(&bytes[..56], seed);
        bytes[56..].copy_from_slice(&sum.to_ne_bytes());
        Self(bytes)
    }

    /// The words, unless their sum is another one.
    fn read(bytes: &[u8], seed: u64) -> Option<[u64; 7]> {
        let mut words = [0; 8];
        for (word, place) in words.iter_mut().zip(bytes.get(..RECORD_BYTES)?.chunks_exact(8)) {
            *word = u64::from_ne_bytes(place.try_into().ok()?);
        }
        let [a, b, c, d, e, f, g, told] = words;
        (sum(&bytes[..56], seed) == told).then_some([a, b, c, d, e, f, g])
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is known of all of a plugin's values. Written before a change and behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The last version that was given.
    pub(super) version: u64,
    /// Counts changes of what keys there are.
    pub(super) epoch: u64,
    /// Values.
    pub(super) count: u64,
    /// Of keys and values.
    pub(super) bytes: u64,
    /// Slots that were ever used: all keys are among them.
    pub(super) slots: u64,
    /// A change is under way, or was when its process ended.
    pub(super) busy: bool,
}

const HEADER_SEED: u64 = 1;

impl Header {
    pub(super) fn words(&self) -> Words {
        let Self { version, epoch, count, bytes, slots, busy } = *self;
        Words::of([version, epoch, count, bytes, slots, u64::from(busy), 0], HEADER_SEED)
    }

    /// `None`: it is damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Self::default());
        }
        let [version, epoch, count, bytes, slots, busy, _] = Words::read(bytes, HEADER_SEED)?;
        (slots <= VALUES_MAX).then_some(Self {
            version,
            epoch,
            count,
            bytes,
            slots,
            busy: busy != 0,
        })
    }
}

/// Where a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) version: u64,
    /// Which of the two places.
    pub(super) side: u64,
    /// Units: bytes.
    pub(super) len: u64,
    /// Of the value, with the version as its seed.
    pub(super) value: u64,
    /// Of the key.
    pub(super) key: u64,
}

const SLOT_SEED: u64 = 2;
const KEY_SEED: u64 = 3;

/// What a slot's beginning says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing is there.
    Free,
    /// A value is.
    Taken(Slot),
    /// Somebody else has written there.
    Damaged,
}

impl Slot {
    /// What stands where no value is.
    pub(super) const FREE: Words = Words([0; RECORD_BYTES]);

    pub(super) fn words(&self) -> Words {
        let Self { version, side, len, value, key } = *self;
        Words::of([version, side, len, value, key, 1, 0], SLOT_SEED)
    }

    pub(super) fn read(bytes: &[u8]) -> Found {
        let Some(bytes) = bytes.get(..RECORD_BYTES) else { return Found::Damaged };
        if bytes.iter().all(|byte| *byte == 0) {
            return Found::Free;
        }
        match Words::read(bytes, SLOT_SEED) {
            Some([version, side @ 0..=1, len @ 0..=VALUE_BYTES_MAX, value, key, ..]) => {
                Found::Taken(Self { version, side, len, value, key })
            }
            _ => Found::Damaged,
        }
    }

    pub(super) fn sum_of_key(key: &str) -> u64 {
        sum(key.as_bytes(), KEY_SEED)
    }

    pub(super) fn sum_of_value(value: &[u8], version: u64, key: u64) -> u64 {
        sum(value, version ^ key)
    }
}

/// A text with its length before it, in `room` bytes.
pub(super) fn text(text: &str, room: usize) -> Vec<u8> {
    let mut bytes = vec![0; room];
    let len = text.len().min(room.saturating_sub(1)).min(usize::from(u8::MAX));
    bytes[0] = u8::try_from(len).unwrap_or(u8::MAX);
    bytes[1..=len].copy_from_slice(&text.as_bytes()[..len]);
    bytes
}

/// The same, read; `None`: it is none.
pub(super) fn read_text(bytes: &[u8]) -> Option<&str> {
    let (len, rest) = bytes.split_first()?;
    let text = rest.get(..usize::from(*len)).filter(|it| !it.is_empty())?;
    std::str::from_utf8(text).ok()
}

const _: () = assert!(RECORD_BYTES + 1 + KEY_BYTES_MAX <= SLOT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap() {
        let last_slot = u32::try_from(VALUES_MAX - 1).unwrap();
        let area = area_at(0);
        assert!(name_at(PLUGINS_MAX) <= area);
        assert!(left_out_at(area_at(PLUGINS_MAX - 1)) < name_at(0) && SEEDED_AT < LEFT_OUT_AT);
        assert!(slot_at(area, last_slot) + SLOT_BYTES as u64 <= value_at(area, 0, 0));
        assert!(value_at(area, last_slot, 1) + VALUE_BYTES_MAX <= area_at(1));
        assert!(area_at(PLUGINS_MAX - 1) + AREA <= FILE_BYTES);
        assert_eq!(PAGE % SLOT_BYTES as u64, 0, "no record lies on two pages");
    }

    #[test]
    fn what_was_changed_is_noticed() {
        let slot = Slot { version: 7, side: 1, len: 9, value: 11, key: 13 };
        let header = Header { version: 1, epoch: 2, count: 3, bytes: 4, slots: 5, busy: true };
        let (slot_words, header_words) = (slot.words(), header.words());
        assert_eq!(Slot::read(slot_words.bytes()), Found::Taken(slot));
        assert_eq!(Header::read(header_words.bytes()), Some(header));
        for at in 0..RECORD_BYTES {
            let mut wrong = slot_words.0;
            wrong[at] ^= 0x10;
            assert_eq!(Slot::read(&wrong), Found::Damaged, "{at}");
            let mut wrong = header_words.0;
            wrong[at] ^= 0x10;
            assert_eq!(Header::read(&wrong), None, "{at}");
        }
        assert_eq!(Slot::read(Slot::FREE.bytes()), Found::Free);
        let value: Vec<u8> = (0..=100).collect();
        let all: std::collections::BTreeSet<_> =
            (0..=value.len()).map(|len| sum(&value[..len], 5)).collect();
        assert_eq!(all.len(), value.len() + 1, "each length has another sum");
        assert_ne!(sum(&value, 5), sum(&value, 6));
    }
}
