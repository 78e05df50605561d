//! `/v1/events`: what happens, as it happens, as server-sent events.
//!
//! Owns the stream's form (one JSON object an event, its sequence as the id), where it begins, and
//! how many of them there may be. Invariants: a listener that is too slow, or comes back too late, is
//! told how much it missed and never slows the host; no number of listeners takes the place of
//! another request.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Backend, answer::Form, fault::Fault, serve::Connection, wire};
use crate::event::{self, Heard};

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    since: Option<u64>,
}

/// The event after which the stream begins. A client that comes back says so in its head, also where
/// its first request has said `?since=`. Source: the `Last-Event-ID` of the HTML standard.
fn begins_after(
    headers: &HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Option<u64>, Fault> {
    let refused = |code, message| {
        let hint = "both take the `id` of an event; without one the stream begins now";
        Fault::new(StatusCode::BAD_REQUEST, code, message, hint)
    };
    let since = query.map_err(|_| refused("bad_query", "`?since=` takes a number"))?.since;
    let Some(id) = headers.get("last-event-id") else { return Ok(since) };
    let id = id.to_str().ok().map(str::trim);
    // A client that has seen no event yet may say that it has none.
    if id == Some("") {
        return Ok(since);
    }
    let number = id.and_then(|id| id.parse().ok());
    number.map(Some).ok_or_else(|| refused("bad_event_id", "the `Last-Event-ID` is not a number"))
}

/// `GET /v1/events`. The listener is in place before the response's head leaves: whatever is
/// ordered after it arrives is seen.
pub(super) async fn stream(
    State(host): State<Backend>,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
    form: Form,
) -> Response {
    let after = match begins_after(&headers, query) {
        Ok(after) => after,
        Err(fault) => return fault.answer(form),
    };
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
        events: match after {
            Some(number) => host.events.listen_after(number),
            None => host.events.listen(),
        },
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
    events: event::Listener,
    connection: Option<Connection>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// `None` when this worker's part in the control plane ends.
    async fn next(&mut self) -> Option<Event> {
        let heard = match &mut self.connection {
            None => self.events.next().await,
            Some(connection) => tokio::select! {
                heard = self.events.next() => heard,
                () = connection.leaving() => return None,
            },
        };
        let missed = |missed, to: u64| {
            // Who comes back after this is not told once more.
            Event::default().id(to.to_string()).event("missed").data(wire::line(&missed))
        };
        Some(match heard {
            Heard::Event(event) => Event::default()
                .id(event.sequence.to_string())
                .data(wire::line(&wire::Event::new(&event))),
            Heard::Missed { from, to } => missed(wire::Missed::new(from, to), to),
            Heard::Lost { at } => missed(wire::Missed::unknown(at), at),
        })
    }
}
