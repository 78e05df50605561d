//! The values of one plugin.
//!
//! Owns the order of the writes of a change, and what is made of one that was not finished. Knows
//! nothing of other plugins.
//!
//! # Invariants
//! - A value appears, changes and goes with one small write, that of its slot; before that nobody
//!   reads what is written, and behind it nobody needs what is left.
//! - What keys there are changes only after the header has another epoch: whoever has seen that
//!   epoch knows all of them.
//! - Whoever dies within a change leaves the header busy, and the next one who takes the lock counts
//!   anew from the slots. Nobody waits for the dead.
//! - A reader takes no lock, and believes a value by its sum alone: one that was overwritten under
//!   its eyes does not match, and is read again.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    CellError, Limit, Listed, Value, When,
    layout::{
        Found, Header, KEY_BYTES_MAX, PAGE, RECORD_BYTES, SLOT_BYTES, Slot, VALUE_BYTES_MAX,
        VALUES_MAX, left_out_at, read_text, slot_at, text, value_at,
    },
    lock::{Held, Lock, due},
    region::Region,
};
use crate::sys::clock::since_boot;

/// Reads without the lock before one with it: each means that somebody has written meanwhile.
const TRIES: usize = 8;
/// Slots that are read at once.
const SLOTS_AT_ONCE: u32 = 64;
/// A page that stays beside a small value for the next one.
const KEPT: u64 = PAGE;
/// Versions that are left out where the last ones may not be known.
const GAP: u64 = 1 << 32;

/// Where the keys are, as of an epoch.
#[derive(Debug, Default)]
struct Index {
    /// `None`: nobody has looked.
    epoch: Option<u64>,
    slots: HashMap<Box<str>, u32>,
    free: Vec<u32>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Area {
    at: u64,
    lock: Lock,
    index: Mutex<Index>,
}

/// The lock is held, and what the header says is true.
struct Owned<'a> {
    header: Header,
    _held: Held<'a>,
}

/// One change.
pub(super) struct Change<'a> {
    pub(super) key: &'a str,
    pub(super) when: When,
    /// `None`: it goes.
    pub(super) to: Option<&'a [u8]>,
    /// The version that it gets; `None`: the next one.
    pub(super) version: Option<u64>,
    /// How long locks are waited for.
    pub(super) due: Instant,
}

/// What a change did to the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) values: i64,
    pub(super) bytes: i64,
}

impl Area {
    pub(super) fn new(at: u64) -> Self {
        Self { at, lock: Lock::new(at), index: Mutex::default() }
    }

    /// Says whether the disk has values that are not here.
    pub(super) fn leave_out(&self, region: &Region, is_so: bool) -> io::Result<()> {
        region.write(left_out_at(self.at), &[u8::from(is_so)])
    }

    pub(super) fn is_left_out(&self, region: &Region) -> io::Result<bool> {
        let mut byte = [0];
        region.read(left_out_at(self.at), &mut byte)?;
        Ok(byte != [0])
    }

    #[cfg(test)]
    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header as it is now; `None`: it is damaged, or is being written.
    fn header(&self, region: &Region) -> io::Result<Option<Header>> {
        let mut bytes = [0; RECORD_BYTES];
        region.read(self.at, &mut bytes)?;
        Ok(Header::read(&bytes))
    }

    /// The same; `None`: it is damaged, most likely.
    pub(super) fn settled(&self, region: &Region) -> io::Result<Option<Header>> {
        for _ in 0..TRIES {
            if let Some(header) = self.header(region)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn slot(&self, region: &Region, slot: u32) -> io::Result<Found> {
        let mut bytes = [0; RECORD_BYTES];
        region.read(slot_at(self.at, slot), &mut bytes)?;
        Ok(Slot::read(&bytes))
    }

    /// The value of a slot; `None`: it is not whole, or not there any more.
    fn value(&self, region: &Region, number: u32, slot: &Slot) -> io::Result<Option<Value>> {
        let mut bytes = vec![0; usize::try_from(slot.len).map_err(io::Error::other)?];
        region.read(value_at(self.at, number, slot.side), &mut bytes)?;
        let whole = Slot::sum_of_value(&bytes, slot.version, slot.key) == slot.value;
        Ok(whole.then_some(Value { version: slot.version, bytes }))
    }

    /// The value of `key`.
    pub(super) fn get(&self, region: &Region, key: &str) -> Result<Option<Value>, CellError> {
        let sum = Slot::sum_of_key(key);
        for _ in 0..TRIES {
            let (number, epoch) = {
                let index = self.index();
                (index.slots.get(key).copied(), index.epoch)
            };
            if let Some(number) = number
                && let Found::Taken(slot) = self.slot(region, number)?
                && slot.key == sum
            {
                match self.value(region, number, &slot)? {
                    Some(value) => return Ok(Some(value)),
                    None => continue,
                }
            }
            match self.header(region)? {
                Some(header) if Some(header.epoch) == epoch && number.is_none() => return Ok(None),
                Some(header) if Some(header.epoch) == epoch => break,
                _ => drop(self.own(region, due())?),
            }
        }
        let owned = self.own(region, due())?;
        self.locked(region, &owned, key)
    }

    fn locked(
        &self,
        region: &Region,
        _: &Owned<'_>,
        key: &str,
    ) -> Result<Option<Value>, CellError> {
        let Some(number) = self.index().slots.get(key).copied() else { return Ok(None) };
        let value = match self.slot(region, number)? {
            Found::Taken(slot) if slot.key == Slot::sum_of_key(key) => {
                self.value(region, number, &slot)?
            }
            _ => None,
        };
        value.map(Some).ok_or_else(|| CellError::Damaged(key.to_owned()))
    }

    /// Takes the lock, and sees to what somebody before has not finished.
    fn own<'a>(&'a self, region: &'a Region, due: Instant) -> Result<Owned<'a>, CellError> {
        let held = self.lock.take(region, due)?;
        let header = match self.header(region)? {
            Some(header) if !header.busy => header,
            found => self.recover(region, found)?,
        };
        let mut index = self.index();
        if index.epoch != Some(header.epoch) {
            *index = self.read_index(region, &header)?;
        }
        drop(index);
        Ok(Owned { header, _held: held })
    }

    /// Every slot that was ever used, with its key.
    fn scan(
        &self,
        region: &Region,
        slots: u64,
        mut see: impl FnMut(u32, Found, Option<&str>) -> io::Result<()>,
    ) -> io::Result<()> {
        let slots = u32::try_from(slots.min(VALUES_MAX)).map_err(io::Error::other)?;
        let mut bytes = vec![0; SLOT_BYTES * SLOTS_AT_ONCE as usize];
        for first in (0..slots).step_by(SLOTS_AT_ONCE as usize) {
            let count = SLOTS_AT_ONCE.min(slots - first);
            let some = &mut bytes[..SLOT_BYTES * count as usize];
            region.read(slot_at(self.at, first), some)?;
            for (number, slot) in (first..).zip(some.chunks_exact(SLOT_BYTES)) {
                let (record, key) = slot.split_at(RECORD_BYTES);
                see(number, Slot::read(record), read_text(key))?;
            }
        }
        Ok(())
    }

    fn read_index(&self, region: &Region, header: &Header) -> io::Result<Index> {
        let mut index = Index { epoch: Some(header.epoch), ..Index::default() };
        self.scan(region, header.slots, |number, found, key| {
            match (found, key) {
                (found, Some(key)) if is_reached(found, key) => {
                    index.slots.insert(key.into(), number);
                }
                _ => index.free.push(number),
            }
            Ok(())
        })?;
        // The lowest is taken first.
        index.free.reverse();
        Ok(index)
    }

    /// Counts anew, and gives back what an unfinished change has left. What is damaged stays, and is
    /// told whoever asks for it; without a key nobody can.
    fn recover(&self, region: &Region, found: Option<Header>) -> io::Result<Header> {
        let before = found.unwrap_or(Header { slots: VALUES_MAX, ..Header::default() });
        let mut now = Header { count: 0, bytes: 0, slots: 0, busy: false, ..before };
        // The places of values in their order: each run of those that nobody needs is given back at once.
        let mut unneeded = 0;
        let give_back = |from: u64, to: u64| match to.saturating_sub(from) {
            0 => Ok(()),
            some => region.punch(value_at(self.at, 0, from), some * VALUE_BYTES_MAX),
        };
        self.scan(region, before.slots, |number, found, key| {
            let key = key.filter(|key| is_reached(found, key));
            let keeps = match (found, key) {
                (Found::Free, _) => None,
                (_, None) => {
                    region.write(slot_at(self.at, number), Slot::FREE.bytes())?;
                    None
                }
                (Found::Taken(slot), Some(key)) => {
                    now.version = now.version.max(slot.version);
                    now.bytes += slot.len + key.len() as u64;
                    Some(slot.side)
                }
                (Found::Damaged, Some(key)) => {
                    now.bytes += key.len() as u64;
                    Some(0)
                }
            };
            if let Some(side) = keeps {
                now.count += 1;
                now.slots = u64::from(number) + 1;
                let kept = u64::from(number) * 2 + side;
                give_back(unneeded, kept)?;
                unneeded = kept + 1;
            }
            Ok(())
        })?;
        give_back(unneeded, before.slots * 2)?;
        if found.is_none() {
            tracing::error!("what is known of a plugin's cells was damaged: it was counted anew");
            now.version += GAP;
            now.epoch = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX) | 1 << 63;
        }
        now.epoch = now.epoch.wrapping_add(1);
        region.write(self.at, now.words().bytes())?;
        Ok(now)
    }

    /// Changes one value: its version now, 0 where it is gone. `may` decides by what the change comes
    /// to, and begins it: from then on the header has what it takes, until it is over or counted anew.
    pub(super) fn change(
        &self,
        region: &Region,
        change: &Change<'_>,
        may: impl FnOnce(&Header, Growth, &dyn Fn() -> io::Result<()>) -> Result<(), CellError>,
    ) -> Result<u64, CellError> {
        let Change { key, when, to, version, due } = *change;
        let mut owned = self.own(region, due)?;
        let known = self.index().slots.get(key).copied();
        let old = match known {
            None => None,
            Some(number) => match self.slot(region, number)? {
                Found::Taken(slot) if slot.key == Slot::sum_of_key(key) => Some(slot),
                // It is in nobody's way, but nobody can say which version it had.
                _ if matches!(when, When::Version(_)) => {
                    return Err(CellError::Damaged(key.to_owned()));
                }
                _ => None,
            },
        };
        if let When::Version(expected) = when
            && expected != old.map_or(0, |slot| slot.version)
        {
            return Err(CellError::Conflict(self.locked(region, &owned, key)?));
        }
        if to.is_none() && known.is_none() {
            return Ok(0);
        }
        let growth = growth(key, known.is_some(), old.map_or(0, |old| old.len), to);
        let number = match known {
            Some(number) => number,
            None => self.free_slot(&owned.header)?,
        };
        let before = owned.header;
        let version = version.unwrap_or(before.version + 1);
        let after = &mut owned.header;
        after.version = before.version.max(version);
        after.epoch = after.epoch.wrapping_add(u64::from(growth.values != 0));
        after.slots = after.slots.max(u64::from(number) + 1);
        let booked = before.bytes.saturating_add_signed(growth.bytes.max(0));
        let busy = Header { busy: true, bytes: booked, ..*after }.words();
        may(&before, growth, &|| region.write(self.at, busy.bytes()))?;
        let slot = match to {
            None => Ok(None),
            Some(value) => self.prepare(region, (number, key), old.as_ref(), (version, value)),
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                // Nothing has changed: no need to count anew.
                let same = Header { count: before.count, bytes: before.bytes, ..*after };
                let _ = region.write(self.at, same.words().bytes());
                return Err(CellError::from(error));
            }
        };
        let record = slot.map_or(Slot::FREE, |slot| slot.words());
        region.write(slot_at(self.at, number), record.bytes())?;
        // It is so from here on; what fails now is seen to by whoever comes next.
        after.count = after.count.wrapping_add_signed(growth.values);
        after.bytes = after.bytes.wrapping_add_signed(growth.bytes);
        self.follow(key, number, slot.is_some(), after.epoch);
        // What was damaged is in no figure, so that somebody has to count.
        after.busy = known.is_some() && old.is_none();
        let _ = self.finish(region, number, old.as_ref(), slot.is_some(), after);
        Ok(if slot.is_some() { version } else { 0 })
    }

    fn free_slot(&self, header: &Header) -> Result<u32, CellError> {
        let free = self.index().free.last().copied();
        free.or_else(|| u32::try_from(header.slots).ok().filter(|_| header.slots < VALUES_MAX))
            .ok_or(CellError::Full(Limit::Count(VALUES_MAX)))
    }

    /// Writes what nobody reads yet.
    fn prepare(
        &self,
        region: &Region,
        (number, key): (u32, &str),
        old: Option<&Slot>,
        (version, value): (u64, &[u8]),
    ) -> io::Result<Option<Slot>> {
        let side = old.map_or(0, |old| 1 - old.side);
        if old.is_none() {
            let at = slot_at(self.at, number) + RECORD_BYTES as u64;
            region.write(at, &text(key, KEY_BYTES_MAX + 1))?;
        }
        region.write(value_at(self.at, number, side), value)?;
        let key = Slot::sum_of_key(key);
        let sum = Slot::sum_of_value(value, version, key);
        Ok(Some(Slot { version, side, len: value.len() as u64, value: sum, key }))
    }

    /// Knows what this process has just done, without looking.
    fn follow(&self, key: &str, number: u32, there: bool, epoch: u64) {
        let mut index = self.index();
        if there {
            if index.free.last() == Some(&number) && !index.slots.contains_key(key) {
                index.free.pop();
            }
            index.slots.entry(key.into()).or_insert(number);
        } else if index.slots.remove(key).is_some() {
            index.free.push(number);
        }
        index.epoch = Some(epoch);
    }

    /// Gives back what the value before took, and says that the change is over.
    fn finish(
        &self,
        region: &Region,
        number: u32,
        old: Option<&Slot>,
        stays: bool,
        header: &Header,
    ) -> io::Result<()> {
        if !stays {
            for side in 0..2 {
                region.punch(value_at(self.at, number, side), VALUE_BYTES_MAX)?;
            }
        } else if let Some(old) = old.filter(|old| old.len > KEPT) {
            let at = value_at(self.at, number, old.side);
            region.punch(at + KEPT, VALUE_BYTES_MAX - KEPT)?;
        }
        region.write(self.at, header.words().bytes())
    }

    /// What there is, by key.
    pub(super) fn list(&self, region: &Region) -> Result<Vec<Listed>, CellError> {
        let owned = self.own(region, due())?;
        let mut list = Vec::new();
        self.scan(region, owned.header.slots, |_, found, key| {
            let Some(key) = key.map(str::to_owned) else { return Ok(()) };
            match found {
                Found::Taken(Slot { version, len, .. }) => {
                    list.push(Listed { key, version, bytes: len });
                }
                Found::Damaged => list.push(Listed { key, version: 0, bytes: 0 }),
                Found::Free => {}
            }
            Ok(())
        })?;
        list.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(list)
    }

    /// A copy of every value that is whole, each as it was at some moment of the call; the lock is
    /// taken only for one that changes all the time. With it a version that was over when it began:
    /// nothing up to it is missing.
    ///
    /// # Errors
    /// Where somebody holds the lock who stands still it is not known what is whole.
    pub(super) fn copy(&self, region: &Region) -> Result<(u64, Vec<(String, Value)>), CellError> {
        let header = match self.settled(region)? {
            Some(header) if !header.busy => header,
            // Its version is not there yet: it is waited for, and what a dead one has left is mended.
            found => match self.own(region, due()) {
                Ok(owned) => owned.header,
                Err(_) => {
                    let found = found.unwrap_or(Header { slots: VALUES_MAX, ..Header::default() });
                    Header { version: found.version.saturating_sub(1), ..found }
                }
            },
        };
        let mut all = Vec::new();
        self.scan(region, header.slots, |number, found, key| {
            let mut seen = self.copy_of(region, number, found, key)?;
            for _ in 1..TRIES {
                seen = if seen.is_none() { self.copy_now(region, number)? } else { seen };
            }
            if seen.is_none() {
                let _held = self.lock.take(region, due())?;
                // What is not whole now is damaged.
                seen = self.copy_now(region, number)?;
            }
            all.extend(seen.flatten());
            Ok(())
        })?;
        Ok((header.version, all))
    }

    /// What a slot has, if anything; `None`: it is damaged, or is being written.
    fn copy_of(
        &self,
        region: &Region,
        number: u32,
        found: Found,
        key: Option<&str>,
    ) -> io::Result<Option<Option<(String, Value)>>> {
        match (found, key) {
            (Found::Free, _) => Ok(Some(None)),
            (Found::Taken(slot), Some(key)) if slot.key == Slot::sum_of_key(key) => {
                let value = self.value(region, number, &slot)?;
                Ok(value.map(|value| Some((key.to_owned(), value))))
            }
            _ => Ok(None),
        }
    }

    /// The same of a slot as it is now.
    fn copy_now(
        &self,
        region: &Region,
        number: u32,
    ) -> io::Result<Option<Option<(String, Value)>>> {
        let mut bytes = [0; SLOT_BYTES];
        region.read(slot_at(self.at, number), &mut bytes)?;
        let (record, key) = bytes.split_at(RECORD_BYTES);
        self.copy_of(region, number, Slot::read(record), read_text(key))
    }

    /// Has the next version be far behind those that somebody may have seen.
    pub(super) fn skip_versions(&self, region: &Region, last: u64) -> Result<(), CellError> {
        let Owned { mut header, _held } = self.own(region, due())?;
        header.version = header.version.max(last).saturating_add(GAP);
        Ok(region.write(self.at, header.words().bytes())?)
    }
}

/// Whether a slot's key leads there.
fn is_reached(found: Found, key: &str) -> bool {
    match found {
        Found::Free => false,
        Found::Taken(slot) => slot.key == Slot::sum_of_key(key),
        Found::Damaged => true,
    }
}

/// What it comes to that a value of `was` bytes, if there is any, becomes another one.
pub(super) fn growth(key: &str, known: bool, was: u64, to: Option<&[u8]>) -> Growth {
    let size = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    let key = size(key.len());
    let was = i64::try_from(was).unwrap_or(0);
    let before = if known { key + was } else { 0 };
    let after = to.map_or(0, |value| key + size(value.len()));
    Growth { values: i64::from(to.is_some()) - i64::from(known), bytes: after - before }
}
