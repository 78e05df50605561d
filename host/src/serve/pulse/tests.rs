//! The watchdog, looked at by hand instead of by a clock.

use super::*;

const LIMIT: Duration = Duration::from_millis(200);

#[test]
fn a_poll_that_does_not_return_is_named() {
    let pulse = Arc::new(Pulse::default());
    let writer = PulseWriter::new(pulse.clone());
    let start = Instant::now();
    let mut observer = Observer::new(pulse.clone());
    writer.during((7, 3, "/slow?never shown"), || {
        assert_eq!(observer.look(start, LIMIT), (None, false), "it may just have begun");
        let (stuck, news) = observer.look(start + LIMIT, LIMIT);
        let stuck = stuck.unwrap();
        assert!(news);
        assert_eq!((stuck.request, stuck.generation, stuck.since), (7, 3, LIMIT));
        assert_eq!(stuck.path, "/slow?never shown");
        assert!(pulse.is_blocked());
        assert!(!observer.look(start + 2 * LIMIT, LIMIT).1, "said once");
    });
    assert_eq!(observer.look(start + 3 * LIMIT, LIMIT), (None, true));
    assert!(!pulse.is_blocked());
}

#[test]
fn many_short_polls_are_no_block() {
    let pulse = Arc::new(Pulse::default());
    let writer = PulseWriter::new(pulse.clone());
    let start = Instant::now();
    let mut observer = Observer::new(pulse);
    for step in 0..10 {
        writer.during((step, 1, "/"), || ());
        assert_eq!(
            observer.look(start + LIMIT * u32::try_from(step).unwrap(), LIMIT),
            (None, false)
        );
    }
}

#[test]
fn a_long_path_is_kept_in_part() {
    let pulse = Arc::new(Pulse::default());
    PulseWriter::new(pulse.clone()).during((1, 1, &"x".repeat(100)), || ());
    assert_eq!(pulse.read().path, "x".repeat(PATH_BYTES));
}
