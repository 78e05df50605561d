//! What a service manager hears. Source: sd_notify(3), systemd.service(5).
//!
//! Silent when nobody listens. Only the master speaks.

use sd_notify::NotifyState;

/// Says `states` to whoever started this process.
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// What follows a line's end would be taken for another assignment.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The host serves.
pub(super) fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(first_line(status))]);
}

/// An upgrade that was asked for by a signal is refused, so that nobody waits for it.
pub(super) fn not_reloading(why: &str) {
    reloading(why);
    ready(why);
}

/// An upgrade begins. Always followed by [`ready`].
pub(super) fn reloading(status: &str) {
    let status = NotifyState::Status(first_line(status));
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now, status]),
        Err(_) => say(&[NotifyState::Reloading, status]),
    }
}

/// The host stops, for good, and may take `limit` to do so.
pub(super) fn stopping(limit: std::time::Duration) {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    say(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping"),
        NotifyState::ExtendTimeoutUsec(limit),
    ]);
}

/// What goes on.
pub(super) fn status(text: &str) {
    say(&[NotifyState::Status(first_line(text))]);
}
