//! The desk without a pipeline.

use super::*;

fn unload() -> Order {
    Order::Unload { plugin: "handler".parse().unwrap() }
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
