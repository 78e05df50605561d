use std::sync::mpsc::channel;

use super::*;

fn numbers(listener: &mut Listener) -> Vec<u64> {
    std::iter::from_fn(|| listener.try_next())
        .map(|heard| match heard {
            Heard::Event(event) => event.sequence,
            heard => panic!("{heard:?}"),
        })
        .collect()
}

#[test]
fn who_comes_back_gets_what_was_missed_or_is_told() {
    let events = Events::after(4, 100);
    for _ in 0..6 {
        events.publish(Phase::Queued, |_| ());
    }
    assert!(numbers(&mut events.listen()).is_empty(), "the past is not repeated");
    assert!(numbers(&mut events.listen_after(106)).is_empty());
    assert_eq!(numbers(&mut events.listen_after(104)), [105, 106]);
    assert_eq!(numbers(&mut events.listen_after(102)), [103, 104, 105, 106]);
    for after in [0, 99, 101] {
        let mut listener = events.listen_after(after);
        let missed = Heard::Missed { from: after + 1, to: 102 };
        assert_eq!(listener.try_next(), Some(missed), "once");
        assert_eq!(numbers(&mut listener), [103, 104, 105, 106]);
    }
}

#[test]
fn numbers_of_somebody_else_are_taken_as_they_come() {
    let (sender, sent) = channel();
    let events = Events::led(8, 10, move |event| drop(sender.send(event)));
    let mut listener = events.listen();
    events.publish(Phase::Ready, |_| ());
    assert_eq!(listener.try_next(), None, "it has no number yet");
    let event = sent.recv().unwrap();
    for sequence in [11, 11, 12, 9] {
        events.add(Event { sequence, ..event.clone() });
    }
    assert_eq!(numbers(&mut listener), [11, 12], "once each");
    events.add(Event { sequence: 15, ..event });
    assert_eq!(listener.try_next(), Some(Heard::Missed { from: 13, to: 14 }));
    assert_eq!(numbers(&mut listener), [15]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_never_given_is_no_silence() {
    let events = Events::after(4, 10);
    let mut ahead = events.listen_after(11);
    events.publish(Phase::Queued, |_| ());
    events.publish(Phase::Queued, |_| ());
    assert!(matches!(ahead.next().await, Heard::Event(event) if event.sequence == 12));
    let mut foreign = events.listen_after(5000);
    assert_eq!(foreign.next().await, Heard::Lost { at: 12 });
    events.publish(Phase::Queued, |_| ());
    assert!(matches!(foreign.next().await, Heard::Event(event) if event.sequence == 13));
}
