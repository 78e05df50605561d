//! A control plane with a pipeline that a test writes, for this folder's tests.

use std::{sync::Arc, thread, time::Duration, time::UNIX_EPOCH};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower_service::Service;

use super::{Backend, Connection, Door, EventPlaces, Relay, Transport, router};
use crate::{
    cells::{Cells, make},
    config::Limits,
    deploy::{
        desk::{Desk, Outcome, Refusal},
        order::{Change, Deployed, Order},
    },
    error::{Coded, Kind},
    event::Events,
    ids::{Digest, Generation, Peer, Version},
    metrics::{Metrics, fixture},
    state::history::Entry,
    status::{Heap, Status},
    upgrade,
};

/// The port that the tests' connections came to.
pub(crate) const PORT: u16 = 28000;

/// The parts of a control plane that nobody works for yet.
pub(crate) struct Plane {
    pub(crate) router: Router,
    pub(crate) desk: Desk,
    pub(crate) events: Events,
    pub(crate) relay: Relay,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A plane whose status is `status`; nobody takes its orders.
pub(crate) fn plane(status: Status) -> Plane {
    plane_with(status, |_| {})
}

/// The same with another backend.
pub(crate) fn plane_with(status: Status, change: impl FnOnce(&mut Backend)) -> Plane {
    let events = Events::new(4);
    let desk = Desk::new(2, events.clone());
    let relay = Relay::default();
    let mut backend = Backend {
        desk: desk.clone(),
        events: events.clone(),
        event_places: EventPlaces::new(2),
        ready: Arc::new({
            let readiness = status.readiness();
            move || readiness.clone()
        }),
        outline: Arc::new({
            let status = status.clone();
            move || status.clone()
        }),
        status: Arc::new(move || Box::pin(std::future::ready(status.clone()))),
        history: Arc::new(|count, before| {
            let count = count.min(if before == Some(1) { 0 } else { 2 });
            Box::pin(async move { vec![history_line(); count] })
        }),
        order: Arc::new(|number| Box::pin(async move { (number == 1).then(history_line) })),
        cells: Arc::new(Cells::adopt(make().unwrap(), Limits::default().of_cells()).unwrap()),
        metrics: Arc::new(Metrics::new(10)),
        upgrade: Arc::new(|_| Box::pin(async { no_master() })),
        lame_duck: Arc::new(|_, _| Box::pin(async { true })),
        lame_status: 503,
        relay: relay.clone(),
        working_dir: "/srv".into(),
    };
    change(&mut backend);
    Plane { router: router(backend), desk, events, relay }
}

/// A plane whose orders end as `outcome` says.
pub(crate) fn working(outcome: impl Fn(&Order) -> Outcome + Send + 'static) -> Plane {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    let desk = plane.desk.clone();
    // Ends when the plane closes its desk, or with the test's process.
    thread::spawn(move || {
        while let Some(job) = desk.take() {
            let outcome = outcome(&job.order);
            desk.finish(job, outcome);
        }
    });
    plane
}

fn no_master() -> upgrade::Outcome {
    upgrade::Outcome {
        verdict: upgrade::Verdict::Refused,
        text: "this host has no master".to_owned(),
        hint: None,
        old_pid: None,
        new_pid: None,
        binary: None,
        took: Duration::ZERO,
        at: UNIX_EPOCH,
    }
}

fn history_line() -> Entry {
    Entry {
        line: 3,
        by: Some(Peer { pid: 12, uid: 0 }),
        subject: Some("./libhandler_v2.so".to_owned()),
        at: UNIX_EPOCH,
        order: 1,
        source: "control".to_owned(),
        verb: "deploy".to_owned(),
        plugin: Some("handler".parse().unwrap()),
        label: Some("2".parse().unwrap()),
        digest: Some(Digest([7; 32])),
        generation: Some(Generation(7)),
        from: None,
        outcome: "swapped".to_owned(),
        text: "handler v2 is serving".to_owned(),
        ms: 4,
        left_heap: Some(Heap { held: 1, peak: 2, live: 0, total: 3 }),
    }
}

/// `handler` went from v1 to v2.
pub(crate) fn swapped() -> Deployed {
    let version = |number: u8| Version {
        generation: Generation(number.into()),
        label: number.to_string().parse().unwrap(),
        digest: Digest([number; 32]),
    };
    Deployed {
        change: Change::Swapped,
        plugin: "handler".parse().unwrap(),
        version: version(2),
        previous: Some(version(1)),
        from: None,
        preflight: Duration::from_micros(2100),
        swapped_in: Duration::from_millis(4),
        notes: vec!["this is a note".to_owned()],
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`a\nb` is bad")]
struct Bad(Kind);

impl Coded for Bad {
    fn code(&self) -> &'static str {
        "bad"
    }

    fn kind(&self) -> Kind {
        self.0
    }

    fn hint(&self) -> Option<String> {
        Some("make it good".to_owned())
    }
}

/// A refusal with a name that would break the line.
pub(crate) fn refusal(kind: Kind) -> Refusal {
    Arc::new(Bad(kind))
}

/// A request to `localhost` over TCP.
pub(crate) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header("host", "localhost:28000");
    let mut request = builder.body(body.into()).unwrap();
    request.extensions_mut().insert(connection(Transport::Tcp { port: PORT }));
    request
}

/// A connection that never closes.
pub(crate) fn connection(transport: Transport) -> Connection {
    let (sender, door) = watch::channel(Door::Open);
    // The receiver would take a sender that is gone for one that closed.
    tokio::spawn(async move { sender.closed().await });
    Connection { transport, back: None, peer: None, door }
}

impl Plane {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, Body::empty())).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", path, body)).await
    }
}
