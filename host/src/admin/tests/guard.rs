//! Who may speak to the control plane.

use std::time::UNIX_EPOCH;

use axum::{
    body::Body,
    http::{Request, Version},
};

use crate::{
    admin::{
        Transport, health_router,
        testing::{Plane, connection, plane, request, working},
    },
    metrics::fixture,
};

fn status_page() -> Plane {
    plane(fixture::serving(UNIX_EPOCH))
}

#[tokio::test]
async fn only_loopback_names_are_answered() {
    let plane = status_page();
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:28000", 200),
        ("localhost:", 200),
        ("127.0.0.1", 200),
        ("127.255.0.9:1", 200),
        ("[::1]:28000", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("", 421),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.localhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("0.0.0.0", 421),
        ("10.0.0.1:28000", 421),
        ("[::2]", 421),
        ("2130706433", 421),
        ("a b", 400),
        ("localhost:80a", 400),
        ("[::1", 400),
        ("localhost/x", 400),
        ("user@localhost", 400),
    ] {
        let mut get = request("GET", "/", Body::empty());
        get.headers_mut().insert("host", host.parse().unwrap());
        let answer = plane.send(get).await;
        assert_eq!(answer.status, status, "{host}");
        let code = match status {
            200 => "",
            400 => "bad_host",
            _ => "foreign_host",
        };
        assert_eq!(answer.header("hotseat-error"), code, "{host}");
    }
}

#[tokio::test]
async fn there_is_one_host_header() {
    let plane = status_page();
    let mut two = request("GET", "/", Body::empty());
    two.headers_mut().append("host", "localhost".parse().unwrap());
    assert_eq!(plane.send(two).await.status, 400);
    let mut none = request("GET", "/", Body::empty());
    none.headers_mut().remove("host");
    assert_eq!(
        plane.send(none).await.body,
        "there is no `Host` header\nhint: send one `Host` header, as in `Host: localhost`\n\
         code: bad_host\n"
    );
    let mut none = request("GET", "/", Body::empty());
    none.headers_mut().remove("host");
    *none.version_mut() = Version::HTTP_10;
    assert_eq!(plane.send(none).await.status, 200);
    let mut absolute = request("GET", "http://evil.example/", Body::empty());
    absolute.headers_mut().insert("host", "localhost".parse().unwrap());
    assert_eq!(plane.send(absolute).await.status, 421);
}

#[tokio::test]
async fn pages_of_others_are_refused() {
    let plane = working(|order| panic!("{order:?} was queued"));
    for (name, value, allowed) in [
        ("origin", "http://localhost:28000", true),
        ("origin", "http://127.0.0.1:28000", true),
        ("origin", "http://[::1]:28000", true),
        ("origin", "https://localhost:28000", false),
        ("origin", "http://localhost:28001", false),
        ("origin", "http://localhost", false),
        ("origin", "http://evil.example:28000", false),
        ("origin", "http://localhost:28000.evil.example", false),
        ("origin", "null", false),
        ("origin", "", false),
        ("sec-fetch-site", "none", true),
        ("sec-fetch-site", "same-origin", true),
        ("sec-fetch-site", "same-site", false),
        ("sec-fetch-site", "cross-site", false),
    ] {
        for (method, path) in [("POST", "/"), ("GET", "/v1/status"), ("OPTIONS", "/nowhere")] {
            let mut post = request(method, path, Body::empty());
            post.headers_mut().insert(name, value.parse().unwrap());
            let answer = plane.send(post).await;
            assert_eq!(answer.status != 403, allowed, "{method} {path} {name}: {value}");
            if !allowed {
                let code = if name == "origin" { "foreign_origin" } else { "foreign_site" };
                assert_eq!(answer.header("hotseat-error"), code);
            }
        }
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_host_but_takes_no_page() {
    let plane = status_page();
    let unix = |name: &'static str, value: &str| {
        let mut get = Request::builder().uri("/").header(name, value).body(Body::empty()).unwrap();
        get.extensions_mut().insert(connection(Transport::Unix));
        get
    };
    assert_eq!(plane.send(unix("host", "evil.example")).await.status, 200);
    assert_eq!(plane.send(unix("accept", "*/*")).await.status, 200);
    assert_eq!(plane.send(unix("origin", "http://localhost:28000")).await.status, 403);
}

/// Load balancers ask by whatever name they know.
#[tokio::test]
async fn the_health_listener_takes_any_host() {
    let status = fixture::serving(UNIX_EPOCH);
    let plane = Plane {
        router: health_router(std::sync::Arc::new(move || status.readiness()), 503),
        ..status_page()
    };
    let ask = |path: &str| {
        Request::builder().uri(path).header("host", "a.example").body(Body::empty()).unwrap()
    };
    assert_eq!(plane.send(ask("/livez")).await.body, "alive\n");
    assert_eq!(plane.send(ask("/readyz")).await.body, "ready\n");
    assert_eq!(plane.send(ask("/v1/status")).await.status, 404);
    assert_eq!(plane.send(ask("/")).await.status, 404);
}
