//! Pages that only show something.

use std::time::UNIX_EPOCH;

use axum::body::Body;
use serde_json::json;

use crate::{
    admin::testing::{Plane, plane, request},
    metrics::fixture,
    status::{Stage, Status},
};

fn serving() -> Plane {
    plane(fixture::serving(UNIX_EPOCH))
}

#[tokio::test]
async fn the_front_page_is_the_status() {
    let page = serving().get("/").await.body;
    assert!(page.starts_with("hotseat 0.1.0, serving, pid 4242, up "), "{page}");
    let mut get = request("GET", "/v1/status", Body::empty());
    get.headers_mut().insert("accept", "text/plain".parse().unwrap());
    let same = serving().send(get).await.body;
    assert_eq!(same.lines().skip(1).collect::<Vec<_>>(), page.lines().skip(1).collect::<Vec<_>>());
}

fn generation(number: usize, label: &str, life: &str, why: Option<&str>) -> serde_json::Value {
    json!({
        "generation": number,
        "plugin": "handler",
        "label": label,
        "digest": format!("{number:02x}").repeat(32),
        "life": life,
        "why": why,
        "since": "1970-01-01T00:00:00.000Z",
        "holder_count": 0,
        "holders": [],
        "heap": null,
        "config": null,
        "leaves": null,
        "left": null,
        "threads": {},
    })
}

fn with_heap(
    mut generation: serde_json::Value,
    [held, peak, live, total]: [u64; 4],
) -> serde_json::Value {
    generation["heap"] = json!({
        "held_bytes": held, "peak_bytes": peak, "live_bytes": live, "total_bytes": total,
    });
    generation
}

fn classes(idle: usize, busy: usize, upgraded: usize) -> serde_json::Value {
    json!({ "fresh": 0, "head": 0, "idle": idle, "busy": busy, "h2": 0, "upgraded": upgraded })
}

fn draining() -> serde_json::Value {
    let mut draining = generation(6, "1", "draining", None);
    draining["holder_count"] = json!(2);
    draining["holders"] = json!([{
        "request": 17,
        "method": "GET",
        "path": "/?sleep=20",
        "doing": "request",
        "age_ms": 12340,
        "peer": "127.0.0.1:40312",
    }]);
    draining
}

fn handler() -> serde_json::Value {
    json!({
        "name": "handler",
        "mounts": ["/", "api.example/v1"],
        "active": with_heap(
            generation(7, "2", "serving", None),
            [5 << 20, 7 << 20, 3 << 20, 9 << 30],
        ),
        "kept": [{ "generation": 6, "label": "1", "digest": "06".repeat(32), "rolled_back": true }],
        "warning": null,
        "counts": { "requests": 1204, "errors": 3, "panics": 1, "timeouts": 0, "cut": 0 },
    })
}

#[tokio::test]
async fn the_status_object_is_complete() {
    let order = |order, state, subject| {
        let mut object = json!({ "order": order, "verb": "deploy", "outcome": null });
        object["state"] = json!(state);
        object["subject"] = json!(subject);
        object
    };
    let expected = json!({
        "version": "0.1.0",
        "pid": 4242,
        "started": "1970-01-01T00:00:00.000Z",
        "up_ms": null,
        "stage": "serving",
        "listen": ["127.0.0.1:8080"],
        "control": ["127.0.0.1:28000", "unix:/run/hotseat.sock"],
        "working_dir": "/srv",
        "state_dir": "/srv/.hotseat",
        "plugins_dir": "/srv/plugins",
        "files": [],
        "never_unload": null,
        "census": null,
        "cells": [],
        "plugins": [handler()],
        "retired": [
            draining(),
            generation(5, "1", "pending", Some("thread `core 1` has not let go")),
            with_heap(
                generation(4, "1", "resident", Some("1 thread left behind")),
                [2 << 20, 0, 0, 0],
            ),
            generation(3, "1", "unloaded", None),
        ],
        "resident_count": 1,
        "residents": [{
            "plugin": "handler",
            "why": "1 thread left behind",
            "generations": [4],
            "threads": {},
            "heap_bytes": 2 << 20,
        }],
        "cores": [
            { "core": 0, "connections": 3, "blocked": null },
            { "core": 1, "connections": 4, "blocked": {
                "plugin": "handler",
                "generation": 7,
                "doing": "request",
                "request": 21,
                "path": "/slow",
                "since_ms": 5000,
            } },
        ],
        "orders": [
            order(9, "running", "./libhandler_v3.so"),
            order(10, "waiting", "./libecho_v1.so"),
            order(8, "done", "./libhandler_v2.so"),
        ],
        "missing": [],
        "unwritable": null,
        "rss_bytes": 66_060_288,
        "c_heap_bytes": 12_582_912,
        "growth": null,
        "processes": [],
        "upgrade": null,
        "connections": classes(0, 0, 0),
        "log_dropped": 8,
    });
    let plane = serving();
    assert_eq!(plane.get("/v1/status").await.json(), expected);
}

#[tokio::test]
async fn plugins_are_shown_as_in_the_status() {
    let plane = serving();
    let expected = plane.get("/v1/status").await.json();
    let plugins = &expected["plugins"];
    assert_eq!(plane.get("/v1/plugins").await.json(), json!({ "plugins": plugins }));
    assert_eq!(plane.get("/v1/plugins/handler").await.json(), plugins[0]);
    let answer = plane.get("/v1/plugins/echo").await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (404, "no_such_plugin"));
}

#[tokio::test]
async fn the_status_object_names_every_process() {
    let page = plane(fixture::led(UNIX_EPOCH)).get("/v1/status").await.json();
    let process = |pid: u32, role: &str, number: u64, connections: serde_json::Value| {
        json!({
            "pid": pid,
            "role": role,
            "number": number,
            "version": "0.1.0",
            "binary": (number != 1).then(|| "3fa1c2".repeat(8)),
            "from_memory": false,
            "since": "1970-01-01T00:00:00.000Z",
            "up_ms": null,
            "connections": connections,
        })
    };
    let mut serving = classes(2, 3, 0);
    serving["fresh"] = json!(1);
    serving["h2"] = json!(1);
    assert_eq!(page["connections"], serving);
    let expected = json!([
        process(4000, "master", 0, classes(0, 0, 0)),
        process(4300, "draining", 3, classes(0, 0, 1)),
        process(4242, "serving", 2, serving),
        process(4100, "draining", 1, classes(0, 0, 0)),
    ]);
    assert_eq!(page["processes"], expected);
    assert_eq!(page["upgrade"]["verdict"], "rolled_back");
}

#[tokio::test]
async fn readiness_follows_the_status() {
    let empty = fixture::empty(UNIX_EPOCH);
    let serving = fixture::serving(UNIX_EPOCH);
    let missing = Status { missing: vec!["/api".to_owned()], ..serving.clone() };
    let mut idle = serving.clone();
    idle.plugins[0].active = None;
    let unwritable = Some(crate::status::Unwritable {
        code: "disk_full",
        text: "no space".to_owned(),
        hint: None,
        since: UNIX_EPOCH,
    });
    let unwritable = Status { unwritable, ..serving.clone() };
    for (status, body) in [
        (serving.clone(), "ready\n"),
        (unwritable, "ready\nunwritable: no space\n"),
        (empty, "not ready: nothing is loaded\n"),
        (idle, "not ready: nothing is loaded\n"),
        (missing, "not ready: a mount has nothing that serves it\nmissing: /api\n"),
        (Status { stage: Stage::Booting, ..serving.clone() }, "not ready: the host is booting\n"),
        (Status { stage: Stage::Stopping, ..serving.clone() }, "not ready: the host is stopping\n"),
        (
            Status { stage: Stage::Broken, ..serving },
            "not ready: the deploy thread has ended by a panic\n",
        ),
    ] {
        let plane = plane(status);
        let answer = plane.get("/readyz").await;
        assert_eq!(answer.body, body);
        let (status, code) =
            if body.starts_with("ready\n") { (200, "") } else { (503, "not_ready") };
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (status, code));
        assert_eq!(plane.get("/livez").await.status, 200);
    }
    let mut get = request("GET", "/readyz", Body::empty());
    get.headers_mut().insert("accept", "application/json".parse().unwrap());
    let expected = json!({ "ready": true, "stage": "serving", "why": null, "missing": [], "unwritable": null });
    assert_eq!(self::serving().send(get).await.json(), expected);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_alike() {
    let plane = serving();
    let answer = plane.get("/nowhere").await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (404, "not_found"));
    assert!(answer.body.starts_with("there is nothing at `/nowhere`\nhint: "), "{}", answer.body);
    assert_eq!(plane.get("/v1/nowhere").await.json()["error"]["code"], "not_found");
    for (method, path, allow) in [
        ("PUT", "/", "GET,HEAD,POST"),
        ("TRACE", "/v1/rollback", "POST"),
        ("POST", "/v1/plugins/handler", "GET,HEAD,DELETE"),
        ("POST", "/livez", "GET,HEAD"),
        ("DELETE", "/metrics", "GET,HEAD"),
    ] {
        let answer = plane.send(request(method, path, Body::empty())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, allow),
            "{method} {path}"
        );
        assert_eq!(answer.header("hotseat-error"), "method_not_allowed");
    }
    let answer = plane.send(request("HEAD", "/", Body::empty())).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, ""));
}

#[tokio::test]
async fn the_history_is_as_long_as_asked_for() {
    let plane = serving();
    let line = json!({
        "id": 3,
        "at": "1970-01-01T00:00:00.000Z",
        "order": 1,
        "source": "control",
        "verb": "deploy",
        "plugin": "handler",
        "label": "2",
        "digest": "07".repeat(32),
        "generation": 7,
        "from": null,
        "outcome": "swapped",
        "text": "handler v2 is serving",
        "took_ms": 4,
        "left_heap": {
            "held_bytes": 1, "peak_bytes": 2, "live_bytes": 0, "total_bytes": 3,
        },
        "subject": "./libhandler_v2.so",
        "pid": 12,
        "uid": 0,
    });
    assert_eq!(plane.get("/v1/history?before=1").await.json(), json!({ "history": [] }));
    assert_eq!(plane.get("/v1/history?limit=1").await.json(), json!({ "history": [line] }));
    assert_eq!(plane.get("/v1/history").await.json(), json!({ "history": [line, line] }));
    assert_eq!(plane.get("/v1/history?limit=10000").await.status, 200);
    for query in ["limit=0", "limit=10001", "limit=x", "limt=1", "limit=-1"] {
        let answer = plane.get(&format!("/v1/history?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (400, "bad_query"));
    }
}

#[tokio::test]
async fn orders_are_found_by_number() {
    let plane = serving();
    assert_eq!(plane.get("/v1/deploys").await.json(), json!({ "orders": [] }));
    // Another worker has carried it out.
    let order = json!({
        "order": 1,
        "verb": "deploy",
        "subject": "./libhandler_v2.so",
        "state": "done",
        "outcome": "handler v2 is serving",
    });
    assert_eq!(plane.get("/v1/deploys/1").await.json(), order);
    for path in ["/v1/deploys/0", "/v1/deploys/2", "/v1/deploys/x"] {
        let answer = plane.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("hotseat-error")),
            (404, "no_such_order")
        );
    }
}

#[tokio::test]
async fn metrics_and_version_say_what_they_are() {
    let plane = serving();
    let answer = plane.get("/metrics").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), kind);
    assert!(answer.body.contains("hotseat_requests_total{plugin=\"handler\"} 1204\n"));
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let page = format!("hotseat {version} (plugin abi 1.4) pid {pid}\n");
    assert_eq!(plane.get("/version").await.body, page);
    let mut get = request("GET", "/version", Body::empty());
    get.headers_mut().insert("accept", "application/json".parse().unwrap());
    let expected = json!({ "version": version, "abi": "1.4", "pid": pid });
    assert_eq!(plane.send(get).await.json(), expected);
}
