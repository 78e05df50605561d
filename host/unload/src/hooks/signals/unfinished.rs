//! The handlers that run on a thread, so that one that was left by a jump is not waited for.
//!
//! A handler that ends by siglongjmp(3) never comes back to whoever called it. Once its thread is
//! purged, or ends, it has no frame of any handler, and what was not counted down is counted down.

use std::cell::Cell;

use super::slot::Slot;

/// Handlers of different slots that are told apart on a thread. One beyond them that ends by a jump
/// keeps its library.
const PLACES: usize = 16;

thread_local! {
    // Slots by number and how often each runs; a count of 0 is a free place. Plain data: no
    // destructor. Only its own thread writes, and a handler that interrupts it leaves all as it was.
    static RUNS: [Cell<(u16, u32)>; PLACES] = const { [const { Cell::new((0, 0)) }; PLACES] };
}

/// A call of the slot's handler begins on this thread.
pub(super) fn begin(slot: &Slot) {
    slot.begin();
    let number = slot.number();
    RUNS.with(|runs| {
        let known = runs.iter().find(|it| matches!(it.get(), (its, 1..) if its == number));
        if let Some(place) = known.or_else(|| runs.iter().find(|it| it.get().1 == 0)) {
            let count = place.get().1;
            place.set((number, count + 1));
        }
    });
}

/// It has returned.
pub(super) fn end(slot: &Slot) {
    let number = slot.number();
    RUNS.with(|runs| {
        if let Some(place) = runs.iter().find(|it| matches!(it.get(), (its, 1..) if its == number))
        {
            place.set((number, place.get().1 - 1));
        }
    });
    slot.end(1);
}

/// No handler runs on this thread: those that did were left by a jump.
pub(in crate::hooks) fn give_up() {
    RUNS.with(|runs| {
        for place in runs {
            let (number, count) = place.replace((0, 0));
            if count > 0
                && let Some(slot) = Slot::by_number(number)
            {
                slot.end(count);
            }
        }
    });
}
