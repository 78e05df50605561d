//! The books of heaps, with a library that is loaded anyway playing the plugin.

use std::sync::{Arc, Mutex};

use super::{
    super::tests::Played, is_over, lend, ranges, registry, request, return_range, shut, take_back,
    watch, *,
};

const CHUNK: usize = 1 << 20;

/// As if the library said so at its address.
unsafe fn gauge(_: *const c_void) -> Flow {
    Flow { taken: 7, given: 3 }
}

fn of(played: &Played) -> (*const c_void, Gauge) {
    (played.address.cast_const(), gauge)
}

fn want(size: usize, old: *mut c_void) -> Want {
    Want { size, align: if size == CHUNK { CHUNK } else { 1 }, old }
}

fn total(id: LibraryId) -> usize {
    ranges(id).iter().map(ExactSizeIterator::len).sum()
}

#[test]
fn ranges_are_lent_resized_and_taken_back() {
    let played = Played::start();
    let id = played.record.id();
    let ask = |size: usize, old: *mut c_void| {
        // SAFETY: an address of the library that plays; the ranges are used by nobody else.
        unsafe { request(of(&played).0, gauge, want(size, old)) }
    };
    let chunk = ask(CHUNK, ptr::null_mut());
    assert_eq!(chunk.addr() % CHUNK, 0);
    let range = ask(10 * CHUNK, ptr::null_mut()).cast::<u8>();
    // SAFETY: a range of that size.
    unsafe { range.add(CHUNK).write(7) };
    assert_eq!(total(id), 11 * CHUNK);
    let longer = ask(50 * CHUNK, range.cast()).cast::<u8>();
    // SAFETY: the same bytes in a longer range.
    unsafe {
        assert_eq!(longer.add(CHUNK).read(), 7);
        longer.add(50 * CHUNK - 1).write(7);
    }
    assert!(ranges(id).contains(&(longer.addr()..longer.addr() + 50 * CHUNK)));
    assert!(ask(0, chunk).is_null());
    assert_eq!(total(id), 50 * CHUNK);
    assert!(ask(CHUNK, ptr::without_provenance_mut(4096)).is_null(), "nobody's range");
    take_back(id);
    assert!(ranges(id).is_empty());
}

#[test]
fn nobody_else_is_lent_anything() {
    let own = 0_u8;
    let of = (&raw const own).cast();
    // SAFETY: an address of no library.
    let lent = unsafe { request(of, gauge, want(CHUNK, ptr::null_mut())) };
    assert!(lent.is_null());
}

#[test]
fn a_crossing_is_told_once_each_way() {
    let played = Played::start();
    let id = played.record.id();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let seen = move || std::mem::take(&mut *told.lock().unwrap());
    watch(id, 8 * CHUNK as u64, Arc::new(move |id| tells.lock().unwrap().push(is_over(id))));
    let lent: Vec<_> = (0..10).map(|_| lend(id, of(&played), CHUNK, CHUNK)).collect();
    assert_eq!(seen(), [true], "at the ninth");
    let give = |base: *mut u8| {
        // SAFETY: nobody uses it.
        unsafe { return_range(id, base) };
    };
    lent[..2].iter().copied().for_each(give);
    assert!(seen().is_empty(), "an eighth less is the way back");
    lent[2..].iter().copied().for_each(give);
    assert_eq!(seen(), [false]);
    // Told at once when it is so already.
    let again = [CHUNK, 3 * CHUNK].map(|size| lend(id, of(&played), size, 1));
    let told = Arc::new(Mutex::new(0));
    let tells = told.clone();
    watch(id, 2 * CHUNK as u64, Arc::new(move |_| *tells.lock().unwrap() += 1));
    assert_eq!((*told.lock().unwrap(), is_over(id)), (1, true));
    again.into_iter().for_each(give);
    take_back(id);
    assert!(!is_over(id));
}

/// While a library is unmapped its last destructors may still ask.
#[test]
fn a_library_that_goes_is_not_asked() {
    let played = Played::start();
    let id = played.record.id();
    heaps().entry(id).or_default().shut = true;
    lend(id, of(&played), CHUNK, CHUNK);
    assert!(heaps().get(&id).is_some_and(|heap| heap.says.is_none()));
    let seen = size(id).unwrap();
    assert_eq!((seen.held, seen.live, seen.total), (CHUNK as u64, 0, 0));
    shut(id, false);
    lend(id, of(&played), CHUNK, 1);
    let seen = size(id).unwrap();
    assert_eq!((seen.live, seen.total), (4, 7), "it is there and says so");
    shut(id, true);
    take_back(id);
    assert_eq!(size(id), None);
    assert!(registry::by_id(id).is_some());
}
