//! A data thread's life: messages in, connections and requests begun and ended.
//!
//! Owns the thread's main function. What is asked is a [`Message`]; who asks does not wait for more
//! than it has to.

use std::{rc::Rc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::plugin::desk;

use super::{
    clock::Moment, conn::Course, connection, core::Core, hold::Exchange, listener, mail::Message,
    pulse::Doing, task,
};

/// Between a cut and the end of the connection, for last chunks and close frames.
pub(super) const CUT_GRACE: Duration = Duration::from_secs(1);

/// Between two looks at the connections that are left at the end.
const LOOK: Duration = Duration::from_millis(5);

/// Ends what was cut and is still there a moment later.
async fn abort_later(core: Rc<Core>, which: impl Fn(&Exchange) -> bool) {
    tokio::time::sleep(CUT_GRACE).await;
    core.in_flight.abort(which);
}

/// Waits until no connection is left.
async fn empty(core: &Core) {
    while !core.connections.borrow().is_empty() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Answers messages until [`Message::End`].
pub(super) async fn run(core: Rc<Core>, mut inbox: mpsc::Receiver<Message>) {
    let mut accepting: Vec<JoinHandle<()>> = Vec::new();
    let pulse = core.pulse.clone();
    let begin = move |plugins| task::spawn(&pulse, Doing::Task, plugins).abort_handle();
    let serving = desk::serve(core.balance.desk(core.index), Rc::new(begin));
    task::spawn(&core.pulse, Doing::Connection, serving);
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Park(done) => {
                for accepting in accepting.drain(..) {
                    accepting.abort();
                    // Its listener is closed once the task is dropped.
                    let _ = accepting.await;
                }
                let _ = done.try_send(());
            }
            Message::End => {
                core.pulse.turn(Doing::End, || {
                    accepting.iter().for_each(JoinHandle::abort);
                    // Without a connection nobody waits: what a plugin still keeps is taken back below.
                    if !core.connections.borrow().is_empty() {
                        core.in_flight.cut(|_| true);
                    }
                    let linger = Duration::ZERO;
                    core.set_course(Course::Close { since: Moment::now(), linger });
                });
                let _ = tokio::time::timeout(CUT_GRACE, empty(&core)).await;
                // What plugins keep of requests whose connections have gone.
                core.pulse.turn(Doing::End, || core.locked(|| core.in_flight.abort(|_| true)));
                return;
            }
            message => {
                let doing = message.doing();
                core.pulse.turn(doing, || core.locked(|| answer(&core, message, &mut accepting)));
            }
        }
    }
}

/// Does what needs no waiting.
fn answer(core: &Rc<Core>, message: Message, accepting: &mut Vec<JoinHandle<()>>) {
    match message {
        Message::Accept(sockets) => accepting.extend(sockets.into_iter().map(|socket| {
            task::spawn(&core.pulse, Doing::Accept, listener::accept(core.clone(), socket))
        })),
        Message::Serve => {
            // Another thread may have it by now.
            if let Some(accepted) = core.balance.take(core.index) {
                connection::open(core, accepted);
            }
        }
        Message::Refresh => {
            core.balance.looked(core.index);
            core.view.refresh();
        }
        Message::Purge(request) => request.run(),
        Message::Holders(answer) => {
            // Whoever asked may have lost patience.
            let _ = answer.try_send(core.in_flight.holders());
        }
        Message::Classes(answer) => {
            let _ = answer.try_send(core.classes());
        }
        Message::Idlest(answer) => {
            let _ = answer.send(core.idlest().map(|(since, _)| since));
        }
        Message::Evict => core.evict(),
        Message::Cut(generation) => {
            let which = move |it: &Exchange| it.lease().generation() == generation;
            core.hand_over_no_more();
            core.in_flight.cut(which);
            task::spawn(&core.pulse, Doing::Cut, abort_later(core.clone(), which));
        }
        Message::CutAll(answer) => {
            core.hand_over_no_more();
            let _ = answer.try_send(core.in_flight.cut(|_| true));
            // Not what comes afterwards.
            let next = core.in_flight.upcoming_id();
            let which = move |it: &Exchange| it.id() < next;
            task::spawn(&core.pulse, Doing::Cut, abort_later(core.clone(), which));
        }
        Message::Drain(successor) => core.drain(successor),
        Message::TakeOver(socket) => {
            let take = listener::take_over(core.clone(), socket);
            task::spawn(&core.pulse, Doing::TakeOver, take);
        }
        // To have been answered is all; the two others take their time, in `run`.
        Message::Turn | Message::Park(_) | Message::End => {}
    }
}
