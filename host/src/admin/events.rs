//! `/v1/events`: what happens, as it happens, as server-sent events.
//!
//! Owns the stream's form (one JSON object an event, its sequence as the id) and how many of them
//! there may be. Invariants: a listener that is too slow is told how much it missed and never slows
//! the host; no number of listeners takes the place of another request.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    broadcast::{Receiver, error::RecvError},
};

use super::{Backend, answer::Form, fault::Fault, serve::Connection, wire};
use crate::event;

/// Between two comments while nothing happens. A listener that has gone is noticed at the second
/// one, and its place is free then.
const COMMENT_TIME: Duration = Duration::from_secs(5);

/// The places for event streams; clones share them.
#[derive(Clone, Debug)]
pub struct EventPlaces {
    free: Arc<Semaphore>,
    count: usize,
}

impl EventPlaces {
    /// So many.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), count }
    }

    /// How many there are, taken or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_event_streams",
                format!("{} event streams are open already", self.count),
                "close one, or raise `event_streams_count`; `/v1/status` and `/v1/history` say what \
                 happened to whoever asks",
            )
        })
    }
}

/// `GET /v1/events`. The listener is in place before the response's head leaves: whatever is
/// ordered after it arrives is seen.
pub(super) async fn stream(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
    form: Form,
) -> Response {
    let place = match host.event_places.take() {
        Ok(place) => place,
        Err(fault) => {
            let mut response = fault.answer(form);
            // It would wait in a place of the other requests.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let listener = Listener {
        events: host.events.listen(),
        connection: connection.map(|Extension(connection)| connection),
        _place: place,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_TIME)).into_response()
}

struct Listener {
    events: Receiver<event::Event>,
    connection: Option<Connection>,
    _place: OwnedSemaphorePermit,
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
