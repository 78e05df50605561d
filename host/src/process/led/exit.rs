//! How a led worker leaves, and hears its master meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Led, WORD_TIME, beat_of, happened, next, note, say};
use crate::{
    link::{Order, Report},
    process::leave::Leaving,
    worker::Worker,
};

/// Why a worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The host stops.
    Stop,
    /// The host stops, at once.
    Cut,
    /// Another worker has taken over.
    Drain,
    /// The host stops, and another worker has the listeners.
    Retire,
    /// The master is gone.
    Orphaned,
}

impl Led<'_> {
    /// Finishes what is here, hears meanwhile whether that is to go faster, and ends the worker.
    pub(super) async fn leave(mut self, worker: Arc<Worker>, way: Way) -> anyhow::Result<()> {
        let (hurry, haste) = watch::channel(way == Way::Cut);
        let limits = self.limits.clone();
        let drain = if way == Way::Drain { limits.upgrade_drain } else { limits.stop_time };
        let stops = matches!(way, Way::Stop | Way::Cut);
        // What is not emptied by this worker is another one's to close.
        let door = std::mem::take(&mut self.door);
        let given = std::mem::take(&mut self.given);
        let ours = |(at, socket)| (!given.contains(&at)).then_some(socket);
        let stop = stops.then(|| door.into_iter().enumerate().filter_map(ours).collect());
        let kept = self.kept.take().unwrap_or_default();
        let limit = limits.clone();
        // Nobody comes after an orphan: it does not wait for what may never end.
        let forsakes = way == Way::Orphaned;
        let leaving =
            Leaving { worker: worker.clone(), limits, stop, kept, drain, forsakes, haste };
        let Self { channel, socket, mail, events, keeper, signals, handed, beat, later, .. } =
            &mut self;
        let mut left = std::pin::pin!(leaving.leave(keeper, || say(channel, &Report::Shut)));
        let (mut led, mut aborted) = (way != Way::Orphaned, None);
        let mut until = tokio::time::Instant::now() + drain;
        loop {
            // Who has asked here for an upgrade that still runs, or waits, is answered from here.
            if aborted.is_some() && (!led || *hurry.borrow() || !mail.is_asked()) {
                break;
            }
            tokio::select! {
                left = &mut left, if aborted.is_none() => aborted = Some(left),
                () = tokio::time::sleep_until(until), if aborted.is_some() => break,
                () = tokio::time::sleep_until(until), if !*hurry.borrow() && way == Way::Drain => {
                    hurry.send_replace(true);
                }
                news = next(socket, channel, later), if led => match news {
                    None => led = false,
                    Some((Order::Hurry | Order::Hammer, _)) => {
                        hurry.send_replace(true);
                    }
                    Some((Order::Stop, _)) => {
                        // The host stops: what drains has no longer than what stops.
                        let time = limit.stop_time;
                        until = until.min(tokio::time::Instant::now() + time);
                    }
                    Some((Order::Answer { id, outcome }, _)) => mail.answered(id, outcome),
                    Some((Order::Processes { list, upgrade, totals }, _)) => {
                        mail.processes(list, upgrade, totals);
                    }
                    Some((Order::Happened { event }, _)) => happened(events.as_ref(), event),
                    // Before the worker's end, which the keeper does last.
                    Some((Order::Note { deed }, _)) => note(keeper, &worker, deed),
                    Some((order, _)) => tracing::debug!(order = order.name(), "not done: leaving"),
                },
                name = signals.next() => {
                    if led {
                        say(channel, &Report::Told { name: name.to_owned() });
                    } else {
                        // Nobody else is there to be told.
                        tracing::warn!(name, "told again: cutting");
                        hurry.send_replace(true);
                    }
                }
                () = mail.arrives() => mail.post(),
                _ = beat.tick(), if led => say(channel, &Report::Beat(beat_of(&worker))),
            }
        }
        // Before the plugins are stopped, which may take longer than the master waits.
        let counters = worker.counters_since(handed);
        say(channel, &Report::Ended { counters, aborted: aborted.unwrap_or_default() });
        if forsakes && worker.is_stuck() {
            tracing::error!("a data thread is stuck: the process ends without ending its plugins");
            return Ok(());
        }
        let patience = limit.plugin_stop_time + limit.preflight_time + limit.load_time + WORD_TIME;
        if tokio::time::timeout(patience, keeper.end(worker)).await.is_err() {
            tracing::error!("the plugins do not end: the process ends without them");
        }
        Ok(())
    }

    /// The master is gone: whoever comes next may bind the addresses at once.
    pub(super) async fn orphaned(mut self, worker: Arc<Worker>) -> anyhow::Result<()> {
        self.door.clear();
        worker.abandon();
        self.leave(worker, Way::Orphaned).await
    }
}
