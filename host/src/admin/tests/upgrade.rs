//! Upgrades and the lame duck.

use std::{
    sync::{Arc, Mutex},
    time::UNIX_EPOCH,
};

use axum::body::Body;
use serde_json::json;

use crate::{
    admin::testing::{Answer, Plane, plane, plane_with, request},
    metrics::fixture,
    status::{Stage, Status},
    upgrade::{Request, Verdict, Wait},
};

/// A plane whose upgrades end as `verdict`, and what was asked of it.
fn upgrading(verdict: Verdict) -> (Plane, Arc<Mutex<Vec<Request>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let plane = plane_with(fixture::serving(UNIX_EPOCH), move |host| {
        host.upgrade = Arc::new(move |request| {
            heard.lock().unwrap().push(request);
            let outcome = fixture::outcome(verdict, "a\n\x1b[2Jb", UNIX_EPOCH);
            Box::pin(async { outcome })
        });
    });
    (plane, asked)
}

async fn post(plane: &Plane, accept: &str, body: &str) -> Answer {
    let mut post = request("POST", "/v1/upgrade", Body::from(body.to_owned()));
    post.headers_mut().insert("accept", accept.parse().unwrap());
    plane.send(post).await
}

#[tokio::test]
async fn what_is_wanted_reaches_the_leader() {
    let (plane, asked) = upgrading(Verdict::Committed);
    for (body, binary, config, wait) in [
        ("", None, None, Wait::No),
        ("{}", None, None, Wait::No),
        (r#"{"binary": null, "config": null, "wait": "no"}"#, None, None, Wait::No),
        (r#"{"binary": "/b", "wait": "ready"}"#, Some("/b"), None, Wait::Ready),
        (r#"{"config": "./c", "wait": "commit"}"#, None, Some("/srv/./c"), Wait::Commit),
    ] {
        assert_eq!(post(&plane, "text/plain", body).await.status, 200, "{body}");
        let expected = Request {
            binary: binary.map(Into::into),
            config: config.map(Into::into),
            wait,
            by: None,
        };
        assert_eq!(asked.lock().unwrap().pop(), Some(expected), "{body}");
    }
    for (body, code) in [
        (r#"{"binary": ""}"#, "no_path"),
        (r#"{"config": "a\u0000b"}"#, "nul_in_path"),
        (r#"{"wait": "for ever"}"#, "bad_json"),
        (r#"{"binray": "/b"}"#, "bad_json"),
        ("/b", "bad_json"),
    ] {
        let answer = post(&plane, "text/plain", body).await;
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (400, code), "{body}");
    }
    assert_eq!(*asked.lock().unwrap(), []);
}

#[tokio::test]
async fn every_verdict_has_its_status_and_code() {
    for verdict in Verdict::ALL {
        let (status, code) = match verdict {
            Verdict::Accepted => (202, ""),
            Verdict::Ready | Verdict::Committed => (200, ""),
            Verdict::Preflight => (422, "upgrade_preflight"),
            Verdict::Boot => (422, "upgrade_boot"),
            Verdict::Probe => (422, "upgrade_probe"),
            Verdict::RolledBack => (422, "upgrade_rolled_back"),
            Verdict::Busy => (409, "upgrade_busy"),
            Verdict::Refused => (503, "upgrade_refused"),
        };
        let (plane, _) = upgrading(verdict);
        let answer = post(&plane, "text/plain", "").await;
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (status, code));
        let last = if code.is_empty() { String::new() } else { format!("code: {code}\n") };
        assert_eq!(answer.body, format!("a\n\\u{{1b}}[2Jb\nhint: look at it\n{last}"));
        let answer = post(&plane, "application/json", "").await;
        assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (status, code));
        let mut expected = json!({ "upgrade": {
            "verdict": verdict.as_str(),
            "text": "a\n\\u{1b}[2Jb",
            "hint": "look at it",
            "old_pid": 4242,
            "new_pid": null,
            "binary": "ab".repeat(32),
            "took_ms": 1500,
            "at": "1970-01-01T00:00:00.000Z",
        } });
        if !verdict.is_good() {
            let message = "a\n\\u{1b}[2Jb";
            expected["error"] = json!({ "code": code, "message": message, "hint": "look at it" });
        }
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn the_last_upgrade_is_shown() {
    let none = plane(fixture::serving(UNIX_EPOCH));
    assert_eq!(none.get("/v1/upgrade").await.json(), json!({ "upgrade": null }));
    let led = plane(fixture::led(UNIX_EPOCH));
    let answer = led.get("/v1/upgrade").await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (200, ""));
    assert_eq!(answer.json()["upgrade"]["verdict"], "rolled_back");
    for (plane, page) in
        [(none, "no upgrade yet\n"), (led, "it died\nof SIGSEGV\nhint: look at it\n")]
    {
        let mut get = request("GET", "/v1/upgrade", Body::empty());
        get.headers_mut().insert("accept", "text/plain".parse().unwrap());
        assert_eq!(plane.send(get).await.body, page);
    }
}

#[tokio::test]
async fn the_switch_says_what_became_of_it() {
    let stopping = Status { stage: Stage::Stopping, ..fixture::serving(UNIX_EPOCH) };
    let refusing = plane_with(stopping, |host| {
        host.lame_duck = Arc::new(|_, _| Box::pin(async { false }));
    });
    let answer = refusing.post("/v1/lame-duck", r#"{"on": true}"#).await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (503, "not_serving"));
    let message = "the switch has no effect now: the host is stopping";
    assert_eq!(answer.json()["error"]["message"], message);

    let switched = Arc::new(Mutex::new(Vec::new()));
    let heard = switched.clone();
    let plane = plane_with(fixture::serving(UNIX_EPOCH), move |host| {
        host.lame_duck = Arc::new(move |on, _| {
            heard.lock().unwrap().push(on);
            Box::pin(async { true })
        });
    });
    for on in [true, false] {
        let answer = plane.post("/v1/lame-duck", json!({ "on": on }).to_string()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["lame_duck"]), (200, &json!(on)));
    }
    for body in ["", "{}", r#"{"on": 1}"#, r#"{"on": true, "for": 3}"#] {
        assert_eq!(plane.post("/v1/lame-duck", body).await.header("hotseat-error"), "bad_json");
    }
    assert_eq!(*switched.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn a_lame_duck_answers_as_it_is_told_to() {
    let duck = Status { stage: Stage::LameDuck, ..fixture::serving(UNIX_EPOCH) };
    for status in [503, 404] {
        let plane = plane_with(duck.clone(), move |host| host.lame_status = status);
        let answer = plane.get("/readyz").await;
        let code = answer.header("hotseat-error");
        assert_eq!((answer.status.as_u16(), code), (status, "not_ready"));
        assert_eq!(answer.body, "not ready: the host is a lame duck\n");
        assert_eq!(plane.get("/livez").await.status, 200);
    }
    // Only a lame duck is told so.
    for stage in [Stage::Booting, Stage::Draining, Stage::Stopping] {
        let status = Status { stage, ..fixture::serving(UNIX_EPOCH) };
        let plane = plane_with(status, |host| host.lame_status = 404);
        assert_eq!(plane.get("/readyz").await.status, 503);
    }
}
