//! The stream of events.

use std::time::UNIX_EPOCH;

use axum::body::Body;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_service::Service;

use crate::{
    admin::{
        Connection, Door, Transport,
        testing::{Plane, plane, request},
    },
    event::Phase,
    ids::Generation,
    metrics::fixture,
};

async fn listen(plane: &Plane, connection: Connection) -> Body {
    let mut get = request("GET", "/v1/events", Body::empty());
    get.extensions_mut().insert(connection);
    let response = plane.router.clone().call(get).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body()
}

async fn next(body: &mut Body) -> Option<String> {
    let data = body.frame().await?.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}

fn open() -> (watch::Sender<Door>, Connection) {
    let (sender, door) = watch::channel(Door::Open);
    (sender, Connection { transport: Transport::Tcp { port: 1 }, back: None, peer: None, door })
}

#[tokio::test]
async fn each_event_is_one_object() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    plane.events.publish(Phase::Ready, |_| {});
    let (_close, connection) = open();
    let mut stream = listen(&plane, connection).await;
    assert_eq!(next(&mut stream).now_or_never(), None, "the past is not repeated");
    plane.events.publish(Phase::Committed, |event| {
        event.order = Some(4);
        event.plugin = Some("handler".parse().unwrap());
        event.label = Some("2".parse().unwrap());
        event.generation = Some(Generation(7));
        event.at = UNIX_EPOCH;
    });
    let text = next(&mut stream).await.unwrap();
    let data = text.strip_prefix("id: 2\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let event: Value = serde_json::from_str(data.unwrap()).unwrap();
    let expected = json!({
        "sequence": 2,
        "at": "1970-01-01T00:00:00.000Z",
        "phase": "committed",
        "order": 4,
        "plugin": "handler",
        "label": "2",
        "digest": null,
        "generation": 7,
        "detail": null,
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn who_is_slow_is_told_what_is_missing() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    let (_close, connection) = open();
    let mut stream = listen(&plane, connection).await;
    for _ in 0..6 {
        plane.events.publish(Phase::Queued, |_| {});
    }
    let missed = "id: 2\nevent: missed\ndata: {\"missed\":2,\"from\":1,\"to\":2}\n\n";
    assert_eq!(next(&mut stream).await.as_deref(), Some(missed));
    assert!(next(&mut stream).await.unwrap().starts_with("id: 3\n"));
}

/// Begins where the client says: in its head, or else in the query.
#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    for _ in 0..6 {
        plane.events.publish(Phase::Queued, |_| {});
    }
    let ask = async |id: Option<&str>, target: &str| {
        let mut get = request("GET", target, Body::empty());
        if let Some(id) = id {
            get.headers_mut().insert("last-event-id", id.parse().unwrap());
        }
        plane.router.clone().call(get).await.unwrap()
    };
    for (id, target, first) in [
        (Some("4"), "/v1/events", "id: 5\n"),
        (None, "/v1/events?since=5", "id: 6\n"),
        (Some("3"), "/v1/events?since=5", "id: 4\n"),
        (Some(""), "/v1/events?since=5", "id: 6\n"),
        (
            Some("0"),
            "/v1/events",
            "id: 2\nevent: missed\ndata: {\"missed\":2,\"from\":1,\"to\":2}\n",
        ),
    ] {
        let mut body = ask(id, target).await.into_body();
        let told = next(&mut body).await.unwrap();
        assert!(told.starts_with(first), "{id:?} {target}: {told}");
    }
    for (id, target, code) in [
        (Some("x"), "/v1/events", "bad_event_id"),
        (Some("-1"), "/v1/events", "bad_event_id"),
        (None, "/v1/events?since=", "bad_query"),
        (None, "/v1/events?from=1", "bad_query"),
    ] {
        let response = ask(id, target).await;
        assert_eq!(response.status(), 400, "{id:?} {target}");
        assert_eq!(response.headers()["hotseat-error"], code);
    }
}

/// A number that was never given here: said so, and then it goes on.
#[tokio::test(start_paused = true)]
async fn who_comes_from_elsewhere_is_told() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    plane.events.publish(Phase::Queued, |_| {});
    let get = request("GET", "/v1/events?since=500", Body::empty());
    let mut body = plane.router.clone().call(get).await.unwrap().into_body();
    let lost = "id: 1\nevent: missed\ndata: {\"missed\":null,\"from\":null,\"to\":1}\n\n";
    assert_eq!(next(&mut body).await.as_deref(), Some(lost));
    plane.events.publish(Phase::Queued, |_| {});
    assert!(next(&mut body).await.unwrap().starts_with("id: 2\n"));
}

#[tokio::test]
async fn there_are_so_many_streams_and_each_gives_its_place_back() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    let (_close, connection) = open();
    let _first = listen(&plane, connection.clone()).await;
    let second = listen(&plane, connection.clone()).await;
    // Read only once it is known to end.
    let refused = plane.router.clone().call(request("GET", "/v1/events", Body::empty())).await;
    let (parts, body) = refused.unwrap().into_parts();
    assert_eq!(parts.status, 429);
    assert_eq!(parts.headers["hotseat-error"], "too_many_event_streams");
    assert_eq!(parts.headers["connection"], "close");
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains("2 event streams are open already"), "{text}");
    assert!(text.contains("raise `event_streams_count`"), "{text}");
    drop(second);
    let _third = listen(&plane, connection).await;
}

#[tokio::test]
async fn the_stream_ends_with_the_plane() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    let (close, connection) = open();
    let mut stream = listen(&plane, connection).await;
    assert_eq!(next(&mut stream).now_or_never(), None);
    close.send_replace(Door::Left);
    assert_eq!(next(&mut stream).await, None);
}
