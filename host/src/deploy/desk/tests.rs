//! The desk without a pipeline.

use super::*;
use crate::deploy::condition::Condition;

fn unload() -> Order {
    Order::Unload { plugin: "handler".parse().unwrap(), condition: Condition::None }
}

#[test]
fn a_panic_of_who_takes_orders_leaves_nobody_waiting() {
    let desk = Desk::new(4, Events::new(8));
    let [mut running, mut waiting] = [(); 2].map(|()| desk.submit(unload()).unwrap());
    let theirs = desk.clone();
    let thread = std::thread::spawn(move || {
        let _attendant = theirs.attend();
        let _job = theirs.take().unwrap();
        panic!("as a bug would");
    });
    assert!(thread.join().is_err());
    assert!(running.answer.try_recv().is_err(), "its sender is gone");
    let refusal = waiting.answer.try_recv().unwrap().unwrap_err();
    assert_eq!(refusal.code(), "deploy_thread_ended");
    assert!(matches!(desk.submit(unload()), Err(DeskError::Broken)));
    assert!(desk.is_broken());
    assert!(desk.settle(Duration::ZERO), "nothing is under way");
}

#[test]
fn a_frozen_desk_finishes_what_it_has_and_takes_nothing_in() {
    let desk = Desk::new(4, Events::new(8));
    let ticket = desk.submit(unload()).unwrap();
    desk.freeze();
    assert_eq!(desk.submit(unload()).unwrap_err().code(), "worker_frozen");
    assert!(!desk.settle(Duration::ZERO), "one waits");
    let Some(Work::Order(job)) = desk.next() else { panic!("it is still carried out") };
    assert_eq!(job.number, ticket.order);
    desk.finish(job, Err(Arc::new(DeskError::Broken)));
    assert!(!desk.settle(Duration::ZERO), "what comes behind its answer is not done yet");
    std::thread::scope(|scope| {
        let next = scope.spawn(|| desk.next());
        assert!(desk.settle(Duration::from_secs(20)));
        desk.thaw();
        desk.submit(unload()).unwrap();
        assert!(matches!(next.join().unwrap(), Some(Work::Order(_))));
    });
    desk.freeze();
    desk.close();
    let refused = desk.submit(unload()).unwrap_err();
    assert_eq!(refused.code(), "worker_frozen", "its successor takes orders");
}

#[test]
fn whoever_wants_a_reconcile_waits_for_it() {
    let desk = Desk::new(4, Events::new(8));
    assert!(!desk.reconcile(Duration::ZERO), "nobody works");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(Work::Reconcile(done)) = desk.next() {
                // The one above has gone.
                let _ = done.try_send(());
            }
        });
        assert!(desk.reconcile(Duration::from_secs(20)));
        desk.close();
    });
    assert!(!desk.reconcile(Duration::from_secs(20)), "it is closed");
}

#[test]
fn whoever_waits_for_a_desk_hears_that_it_closes() {
    let desk = Desk::new(4, Events::new(8));
    let mut trial = desk.try_file("./a.so".into()).unwrap();
    let asked = || desk.state().reconcile.is_some();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let begun = Instant::now();
            let patience = Duration::from_secs(20);
            !desk.reconcile(patience) && begun.elapsed() < patience
        });
        while !asked() {
            std::thread::yield_now();
        }
        desk.close();
        assert!(waits.join().unwrap(), "the wait was cut short");
    });
    assert!(trial.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
}
