//! Orders and their answers.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{body::Body, http::StatusCode};
use serde_json::json;
use tower_service::Service;

use crate::{
    admin::testing::{plane, refusal, request, swapped, working},
    deploy::desk::Refusal,
    deploy::{
        condition::{Condition, ConditionError},
        order::{Change, Deployed, Order, Source},
    },
    error::Kind,
    ids::Generation,
    metrics::fixture,
};
use std::{sync::Arc, time::UNIX_EPOCH};

const LINE: &str = "handler v2 is serving (generation 2, sha256 020202…, preflight 2.1 ms, swapped \
                    in 4.0 ms; was v1)";

#[tokio::test]
async fn a_posted_path_is_deployed() {
    let plane = working(|order| {
        let path = "./a b+%20.so".into();
        let expected = Order::Deploy {
            path,
            force: false,
            source: Source::Control,
            condition: Condition::None,
        };
        assert_eq!(*order, expected);
        Ok(swapped())
    });
    let mut post = request("POST", "/", "./a b+%20.so\n");
    let form = "application/x-www-form-urlencoded".parse().unwrap();
    post.headers_mut().insert("content-type", form);
    let answer = plane.send(post).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, format!("{LINE}\nthis is a note\n"));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn programs_get_an_object() {
    let plane = working(|_| Ok(swapped()));
    let mut post = request("POST", "/", "x.so");
    post.headers_mut().insert("accept", "text/html, application/json;q=0.9".parse().unwrap());
    let expected = json!({
        "order": 1,
        "change": "swapped",
        "plugin": "handler",
        "generation": 2,
        "label": "2",
        "digest": "02".repeat(32),
        "previous": { "generation": 1, "label": "1", "digest": "01".repeat(32) },
        "from": null,
        "preflight_ms": 2.1,
        "swapped_in_ms": 4.0,
        "notes": ["this is a note"],
        "text": LINE,
    });
    let answer = plane.send(post).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, expected));
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn every_kind_of_refusal_has_its_status() {
    for (kind, status) in [
        (Kind::Input, 400),
        (Kind::Missing, 404),
        (Kind::Conflict, 409),
        (Kind::Condition, 412),
        (Kind::TooLarge, 413),
        (Kind::Refused, 422),
        (Kind::Busy, 429),
        (Kind::Stopping, 503),
        (Kind::Host, 500),
    ] {
        let plane = working(move |_| Err(refusal(kind)));
        let answer = plane.post("/", "x.so").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, "`a\\nb` is bad\nhint: make it good\ncode: bad\n");
        assert_eq!(answer.header("hotseat-error"), "bad");
        assert_eq!(answer.header("retry-after"), if kind == Kind::Busy { "1" } else { "" });
    }
    let plane = working(|_| Err(refusal(Kind::Refused)));
    let answer = plane.post("/v1/deploys", r#"{"path":"x.so"}"#).await;
    let error = json!({ "code": "bad", "message": "`a\\nb` is bad", "hint": "make it good" });
    assert_eq!(answer.json(), json!({ "error": error }));
}

#[tokio::test]
async fn each_body_that_is_no_path_has_its_code() {
    let plane = working(|order| panic!("{order:?} was queued"));
    let mut library = b"\x7fELF".to_vec();
    library.resize(3 << 20, 0);
    for (body, status, code) in [
        (Vec::new(), 400, "no_path"),
        (b"\n".to_vec(), 400, "no_path"),
        (b"a\nb\n".to_vec(), 400, "several_lines"),
        (b"a\0b".to_vec(), 400, "nul_in_path"),
        (b"\xff".to_vec(), 400, "not_utf8"),
        (library, 400, "library_as_body"),
        (vec![b'a'; 4097], 413, "body_too_large"),
        (vec![b'a'; 1 << 20], 413, "body_too_large"),
    ] {
        let answer = plane.post("/", body).await;
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (status, code));
        assert!(answer.body.contains("\nhint: "), "{}", answer.body);
    }
}

#[tokio::test]
async fn objects_become_orders() {
    let plane = working(|order| {
        let plugin = "handler".parse().unwrap();
        let deploy = |path: &str, force| {
            let (path, source, condition) = (path.into(), Source::Control, Condition::None);
            *order == Order::Deploy { path, force, source, condition }
        };
        let known = deploy("ä \"b\".so", true)
            || deploy("c", false)
            || *order == Order::Rollback { plugin: None, to: None, condition: Condition::None }
            || *order
                == Order::Rollback {
                    plugin: Some("handler".parse().unwrap()),
                    to: Some(Generation(3)),
                    condition: Condition::None,
                }
            || *order == Order::Unload { plugin, condition: Condition::None };
        if known { Ok(swapped()) } else { Err(refusal(Kind::Refused)) }
    });
    for (method, path, body, status) in [
        ("POST", "/v1/deploys", r#"{"path": "ä \"b\".so", "force": true}"#, 200),
        ("POST", "/v1/deploys", r#"{"path": "c"}"#, 200),
        ("POST", "/v1/deploys", "", 400),
        ("POST", "/v1/deploys", r#"{"path": "c", "forse": true}"#, 400),
        ("POST", "/v1/deploys", r#"{"path": ""}"#, 400),
        ("POST", "/v1/rollback", "", 200),
        ("POST", "/v1/rollback", "{}", 200),
        ("POST", "/v1/rollback", r#"{"plugin": "handler", "to": 3}"#, 200),
        ("POST", "/v1/rollback", r#"{"plugin": "Handler"}"#, 400),
        ("POST", "/v1/rollback", r#"{"to": "3"}"#, 400),
        ("DELETE", "/v1/plugins/handler", "", 200),
        ("DELETE", "/v1/plugins/Handler", "", 400),
        ("DELETE", "/v1/plugins/%ff", "", 400),
    ] {
        let answer = plane.send(request(method, path, body)).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
    }
    let long = format!(r#"{{"path": "{}"}}"#, "a".repeat(30_000));
    assert_eq!(plane.post("/v1/deploys", long).await.header("hotseat-error"), "body_too_large");
}

#[tokio::test]
async fn a_full_queue_and_a_closed_one_refuse_at_once() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    let unload =
        || Order::Unload { plugin: "handler".parse().unwrap(), condition: Condition::None };
    let tickets = [plane.desk.submit(unload()).unwrap(), plane.desk.submit(unload()).unwrap()];
    let answer = plane.post("/", "x.so").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
    assert_eq!(answer.header("hotseat-error"), "queue_full");
    plane.desk.close();
    let answer = plane.post("/", "x.so").await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (503, "stopping"));
    drop(tickets);
}

#[tokio::test]
async fn an_order_outlives_its_client() {
    let plane = plane(fixture::serving(UNIX_EPOCH));
    {
        let mut router = plane.router.clone();
        let mut waiting = pin!(router.call(request("POST", "/", "x.so")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Pending));
    }
    let job = plane.desk.take().unwrap();
    assert!(matches!(job.order, Order::Deploy { .. }));
    plane.desk.finish(job, Ok(swapped()));
    let answer = plane.get("/v1/deploys/1").await;
    let order = json!({
        "order": 1,
        "verb": "deploy",
        "subject": "x.so",
        "state": "done",
        "outcome": LINE,
    });
    assert_eq!(answer.json(), order);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_order() {
    let plane = working(|order| panic!("{order:?} was queued"));
    let broken = futures_util::stream::iter([
        Ok("./lib".to_owned()),
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    ]);
    let answer = plane.post("/", Body::from_stream(broken)).await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (400, "body_broken"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let plane = working(|order| panic!("{order:?} was queued"));
    let endless = futures_util::stream::pending::<Result<String, std::io::Error>>();
    let answer = plane.post("/", Body::from_stream(endless)).await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (408, "body_broken"));
}

#[tokio::test]
async fn every_order_takes_a_condition_and_answers_with_a_tag() {
    let plane = working(|order| {
        let (Order::Deploy { condition, .. }
        | Order::Rollback { condition, .. }
        | Order::Unload { condition, .. }) = order;
        let unloaded = matches!(order, Order::Unload { .. });
        let change = if unloaded { Change::Unloaded } else { Change::Swapped };
        let done = Deployed { change, ..swapped() };
        let checked = condition.check(&done.plugin, done.previous.clone());
        checked.map(|()| done).map_err(|error: ConditionError| -> Refusal { Arc::new(error) })
    });
    let ways = [
        ("POST", "/", "x.so"),
        ("POST", "/v1/deploys", r#"{"path": "x.so"}"#),
        ("POST", "/v1/rollback", ""),
        ("DELETE", "/v1/plugins/handler", ""),
    ];
    for (method, path, body) in ways {
        for (value, status, tag) in [
            ("\"1\"", 200, if method == "DELETE" { "\"0\"" } else { "\"2\"" }),
            ("*", 200, if method == "DELETE" { "\"0\"" } else { "\"2\"" }),
            ("\"3\"", 412, "\"1\""),
            ("\"0\"", 412, "\"1\""),
            ("x", 400, ""),
        ] {
            let mut wish = request(method, path, body);
            wish.headers_mut().insert("if-match", value.parse().unwrap());
            let answer = plane.send(wish).await;
            let found = (answer.status.as_u16(), answer.header("etag"));
            assert_eq!(found, (status, tag), "{method} {path} {value}: {}", answer.body);
        }
    }
    for (method, path, body, status) in [
        ("POST", "/v1/deploys", r#"{"path": "x.so", "if_generation": 1}"#, 200),
        ("POST", "/v1/deploys", r#"{"path": "x.so", "if_generation": 2}"#, 412),
        ("POST", "/v1/rollback", r#"{"if_generation": 1}"#, 200),
        ("POST", "/v1/rollback", r#"{"if_generation": 0}"#, 412),
        ("DELETE", "/v1/plugins/handler?if_generation=1", "", 200),
        ("DELETE", "/v1/plugins/handler?if_generation=2", "", 412),
        ("DELETE", "/v1/plugins/handler?if_generation=x", "", 400),
        ("DELETE", "/v1/plugins/handler?generation=1", "", 400),
    ] {
        let answer = plane.send(request(method, path, body)).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
    }
}
