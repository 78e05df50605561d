//! The close of a connection whose client may still be sending.
//!
//! Closing with unread bytes would reset the connection, and a reset can overtake the answer.
//! Source: nginx's `lingering_close`; RFC 9112, 9.6.

use std::{io, time::Duration};

use crate::serve::io::Stream;

/// How long a closed connection is still read.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Lingering {
    /// In all.
    pub(in crate::serve) time: Duration,
    /// Without a byte.
    pub(in crate::serve) gap: Duration,
}

/// Where nothing more is expected: a request may be on its way all the same.
pub(in crate::serve) const QUICK: Lingering =
    Lingering { time: Duration::from_secs(2), gap: Duration::from_secs(2) };

/// Between two pieces of a body that nobody wants. Source: nginx's `lingering_timeout`.
const GAP: Duration = Duration::from_secs(5);

/// Units: bytes read at once.
const WASTE_BYTES: usize = 16 << 10;

impl Lingering {
    /// For a client that is in the middle of a body: it reads the answer only when it has sent all
    /// of it, or hears that nobody listens.
    pub(in crate::serve) fn over_a_body(time: Duration) -> Self {
        Self { time, gap: GAP.min(time) }
    }
}

/// Ends our side and reads on for a while.
pub(in crate::serve) async fn linger(stream: &Stream, Lingering { time, gap }: Lingering) {
    if stream.end().is_err() {
        return;
    }
    let drain = async {
        let mut waste = vec![0; WASTE_BYTES];
        while let Ok(Ok(())) = tokio::time::timeout(gap, stream.readable()).await {
            match stream.try_read(&mut waste) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(time, drain).await;
}
