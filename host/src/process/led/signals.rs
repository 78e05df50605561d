//! Signals that reach a worker although they are meant for the host.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that somebody may send to a worker although they are meant for the host.
pub(super) struct Signals([(&'static str, Signal); 7]);

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let raw = SignalKind::from_raw;
        Ok(Self([
            ("HUP", signal(SignalKind::hangup())?),
            ("TERM", signal(SignalKind::terminate())?),
            ("INT", signal(SignalKind::interrupt())?),
            ("QUIT", signal(SignalKind::quit())?),
            ("USR1", signal(SignalKind::user_defined1())?),
            ("USR2", signal(SignalKind::user_defined2())?),
            ("TSTP", signal(raw(libc::SIGTSTP))?),
        ]))
    }

    pub(super) async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (name, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
