//! The watchdog, looked at by hand instead of by a clock.

use super::*;

const LIMIT: Duration = Duration::from_millis(200);

/// Between two looks: less than what counts of it at most.
const STEP: Duration = Duration::from_millis(100);

/// A thread, and an observer that begins to look at the time that is returned.
fn watched() -> (PulseWriter, Observer, Instant) {
    let pulse = Arc::new(Pulse::default());
    let now = Instant::now();
    (PulseWriter::new(pulse.clone()), Observer::new(pulse, now), now)
}

#[track_caller]
fn stops(look: Look<'_>) -> Stuck {
    match look {
        Look::Stops(stuck) => stuck.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_poll_that_does_not_return_is_named() {
    let (writer, mut observer, start) = watched();
    writer.turn(Doing::Connection, || {
        writer.polls(7, "/slow?never shown");
        assert_eq!(observer.look(start, LIMIT), Look::Turns, "it may just have begun");
        assert_eq!(observer.look(start + STEP, LIMIT), Look::Turns);
        let stuck = stops(observer.look(start + LIMIT, LIMIT));
        let request = Some((7, "/slow?never shown".to_owned()));
        let expected = Stuck { doing: "request", request, generation: None, since: LIMIT };
        assert_eq!(stuck, expected);
        assert!(observer.pulse.is_blocked());
        let again = observer.look(start + LIMIT + STEP, LIMIT);
        let longer = Stuck { since: LIMIT + STEP, ..expected };
        assert_eq!(again, Look::Stands(&longer), "said once");
    });
    assert_eq!(observer.look(start + 3 * LIMIT, LIMIT), Look::TurnsAgain);
    assert!(!observer.pulse.is_blocked());
}

#[test]
fn what_is_no_poll_is_named_by_a_word() {
    let (writer, mut observer, start) = watched();
    writer.turn(Doing::Connection, || writer.polls(7, "/"));
    assert_eq!(observer.look(start, LIMIT), Look::Turns);
    writer.turn(Doing::Purge, || {
        assert_eq!(observer.look(start + STEP, LIMIT), Look::Turns);
        assert_eq!(observer.look(start + 2 * STEP, LIMIT), Look::Turns);
        let stuck = stops(observer.look(start + 3 * STEP, LIMIT));
        assert_eq!((stuck.doing, stuck.request), ("purge", None), "of the turn before");
    });
}

#[test]
fn a_turn_within_a_turn_is_the_same_turn() {
    let (writer, mut observer, start) = watched();
    writer.turn(Doing::Accept, || {
        assert_eq!(observer.look(start, LIMIT), Look::Turns);
        writer.turn(Doing::Connection, || ());
        assert_eq!(observer.look(start + STEP, LIMIT), Look::Turns);
        assert_eq!(stops(observer.look(start + LIMIT, LIMIT)).doing, "accept");
    });
    assert_eq!(observer.look(start + LIMIT, LIMIT), Look::TurnsAgain);
}

#[test]
fn many_short_turns_are_no_block() {
    let (writer, mut observer, start) = watched();
    for step in 0..10 {
        writer.turn(Doing::Connection, || ());
        assert_eq!(observer.look(start + LIMIT * step, LIMIT), Look::Turns);
    }
}

/// It may have nothing to do, or hang in what the runtime calls: only whoever asks can tell.
#[test]
fn a_thread_without_a_turn_is_asked_for_one() {
    let (writer, mut observer, start) = watched();
    let at = |looks: u32| start + STEP * looks;
    let quiet = u32::try_from(QUIET.as_millis() / STEP.as_millis()).unwrap();
    for look in 1..quiet {
        assert_eq!(observer.look(at(look), LIMIT), Look::Turns);
    }
    assert_eq!(observer.look(at(quiet), LIMIT), Look::Quiet);
    writer.turn(Doing::Waiting, || ());
    for look in 1..=quiet {
        assert_eq!(observer.look(at(quiet + look), LIMIT), Look::Turns);
    }
    assert_eq!(observer.look(at(2 * quiet + 1), LIMIT), Look::Quiet);
    assert_eq!(observer.look(at(2 * quiet + 2), LIMIT), Look::Turns);
    let stuck = stops(observer.look(at(2 * quiet + 3), LIMIT));
    assert_eq!((stuck.doing, stuck.since), ("between two turns", LIMIT));
}

/// Its process may have been stopped for an hour.
#[test]
fn one_late_look_is_no_verdict() {
    let (writer, mut observer, start) = watched();
    writer.turn(Doing::Connection, || {
        assert_eq!(observer.look(start, LIMIT), Look::Turns);
        let hour = Duration::from_secs(3600);
        assert_eq!(observer.look(start + hour, LIMIT), Look::Turns);
        let stuck = stops(observer.look(start + hour + STEP, LIMIT));
        assert_eq!(stuck.since, Duration::from_millis(250));
    });
}

#[test]
fn a_long_path_is_kept_in_part() {
    let (writer, mut observer, start) = watched();
    writer.turn(Doing::Connection, || {
        writer.polls(1, &"x".repeat(100));
        assert_eq!(observer.look(start, LIMIT), Look::Turns);
        assert_eq!(observer.look(start + STEP, LIMIT), Look::Turns);
        let stuck = stops(observer.look(start + LIMIT, LIMIT));
        assert_eq!(stuck.request, Some((1, "x".repeat(PATH_BYTES))));
    });
}

#[test]
fn every_word_is_its_own() {
    for (place, (doing, word)) in Doing::ALL.into_iter().enumerate() {
        assert_eq!((usize::from(doing as u8), doing.as_str()), (place, word));
        assert_eq!(Doing::of(doing as u8), doing);
    }
}
