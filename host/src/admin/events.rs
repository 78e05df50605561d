//! `/v1/events`: what happens, as it happens, as server-sent events.
//!
//! Owns the stream's form: one JSON object an event, its sequence as the id. Invariant: a listener
//! that is too slow is told how much it missed and never slows the host.

use std::convert::Infallible;

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Backend, serve::Connection, wire};
use crate::event;

/// `GET /v1/events`. The listener is in place before the response's head leaves: whatever is
/// ordered after it arrives is seen.
pub(super) async fn stream(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
) -> Response {
    let listener = Listener {
        events: host.events.listen(),
        connection: connection.map(|Extension(connection)| connection),
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

struct Listener {
    events: Receiver<event::Event>,
    connection: Option<Connection>,
}

impl Listener {
    /// `None` when this worker's part in the control plane ends.
    async fn next(&mut self) -> Option<Event> {
        let received = match &mut self.connection {
            None => self.events.recv().await,
            Some(connection) => tokio::select! {
                received = self.events.recv() => received,
                () = connection.leaving() => return None,
            },
        };
        match received {
            Ok(event) => Some(
                Event::default()
                    .id(event.sequence.to_string())
                    .data(wire::line(&wire::Event::new(&event))),
            ),
            Err(RecvError::Lagged(count)) => {
                Some(Event::default().event("missed").data(wire::line(&wire::Missed::new(count))))
            }
            Err(RecvError::Closed) => None,
        }
    }
}
