//! What a service manager hears. Source: sd_notify(3), systemd.service(5).
//!
//! Silent when nobody listens. Only the master speaks, from a thread of its own: a manager that does
//! not take what it is told (it hangs, or never meant to listen) holds up nobody, and misses what
//! does not fit any more.

use std::{
    env,
    sync::{OnceLock, mpsc::sync_channel},
    time::Duration,
};

use sd_notify::NotifyState;

use crate::{sys::signals::without_signals, thread::Jobs};

/// Messages that wait for the manager: more than an upgrade has.
const WAITING_COUNT: usize = 16;

/// How long the end of this image waits until the manager has heard everything.
const HEARD_TIME: Duration = Duration::from_millis(200);

/// Who speaks. `None`: nobody listens.
fn speaker() -> Option<&'static Jobs> {
    static SPEAKER: OnceLock<Option<Jobs>> = OnceLock::new();
    let start = || {
        env::var_os("NOTIFY_SOCKET")?;
        let jobs = without_signals(|| Jobs::start("notify", WAITING_COUNT));
        jobs.inspect_err(|error| tracing::warn!(%error, "the service manager is told nothing")).ok()
    };
    SPEAKER.get_or_init(start).as_ref()
}

/// Says `states`, which end with a status, to whoever started this process.
fn say(states: Vec<NotifyState<'static>>, status: &str) {
    let Some(speaker) = speaker() else { return };
    let status = first_line(status).to_owned();
    let job = move || {
        let mut states = states;
        states.push(NotifyState::Status(&status));
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    };
    if speaker.run(job).is_none() {
        tracing::debug!("the service manager does not listen: it is not told");
    }
}

/// Waits for a moment until the manager has heard what was said. Before this image ends.
pub(super) fn settle() {
    let (done, heard) = sync_channel(1);
    if speaker().and_then(|it| it.run(move || done.send(()))).is_some() {
        let _ = heard.recv_timeout(HEARD_TIME);
    }
}

/// What follows a line's end would be taken for another assignment.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The host serves.
pub(super) fn ready(status: &str) {
    say(vec![NotifyState::Ready], status);
}

/// An upgrade that was asked for by a signal is refused, so that nobody waits for it.
pub(super) fn not_reloading(why: &str) {
    reloading(why);
    ready(why);
}

/// An upgrade begins. Always followed by [`ready`].
pub(super) fn reloading(status: &str) {
    // At once: the manager compares it with when it has asked.
    let now = NotifyState::monotonic_usec_now().ok();
    say([Some(NotifyState::Reloading), now].into_iter().flatten().collect(), status);
}

/// The host stops, for good, and may take `limit` to do so.
pub(super) fn stopping(limit: Duration) {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    say(vec![NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)], "stopping");
}

/// What goes on.
pub(super) fn status(text: &str) {
    say(Vec::new(), text);
}
