//! Requests that go past hyper: those of the usual clients do, as `/metrics` tells. That both ways say the
//! same is for the data plane's own tests.

use std::process::Command;

use hotseat_test_support::{Connection, Host, fault, start_host, tool, tool::skip};

/// Of this process and those before it.
fn thin_requests(host: &Host) -> u64 {
    let page = host.control().get("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix("hotseat_thin_requests_total "));
    line.expect("it is counted").parse().unwrap()
}

/// As they come from clients that are kept up; bodies behind their heads in one piece.
const CLIENTS: [(&str, &str); 10] = [
    (
        "curl",
        "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
    ),
    (
        "curl -d",
        "POST / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
         Content-Length: 3\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na=b",
    ),
    ("wrk", "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"),
    (
        "Chromium",
        "GET /a?b=c%20d HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"129\", \"Not=A?Brand\";v=\"8\"\r\nsec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/129.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml;q=0.9\r\n\
         Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
         Cookie: a=b; c=d\r\n\r\n",
    ),
    (
        "Firefox",
        "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         Accept: text/html\r\nAccept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nDNT: 1\r\nSec-GPC: 1\r\n\
         Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\n\
         Priority: u=0, i\r\n\r\n",
    ),
    (
        "Go",
        "GET /x HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Go-http-client/1.1\r\n\
         Accept-Encoding: gzip\r\n\r\n",
    ),
    (
        "Python",
        "POST /json HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: python-requests/2.31.0\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
         Content-Length: 7\r\nContent-Type: application/json\r\n\r\n{\"a\":1}",
    ),
    (
        "node",
        "GET / HTTP/1.1\r\nhost: localhost:8080\r\nconnection: keep-alive\r\naccept: */*\r\n\
         accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n\
         accept-encoding: gzip, deflate\r\n\r\n",
    ),
    (
        "nginx",
        "GET / HTTP/1.1\r\nHost: app\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
    ),
    (
        "HAProxy",
        "GET / HTTP/1.1\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\nhost: app\r\n\
         x-forwarded-for: 10.0.0.1\r\n\r\n",
    ),
];

#[test]
fn the_usual_clients_are_served_past_hyper() {
    let host = start_host!(fault("reflect"), "libhandler_v1.so");
    for (client, request) in CLIENTS {
        let before = thin_requests(&host);
        let mut connection = host.connect();
        for _ in 0..3 {
            connection.send(request).unwrap();
            connection.read_answer().unwrap().assert_status(200).assert_contains("path=/");
        }
        assert_eq!(thin_requests(&host), before + 3, "those of {client}");
    }
    let Some(curl) = tool("curl") else { return skip("there is no `curl`") };
    let (before, url) = (thin_requests(&host), format!("http://{}/", host.data()));
    let args = ["-sS", &url, &url, "--next", "-sS", "-d", "a=b", &url];
    assert!(Command::new(curl).args(args).output().unwrap().status.success());
    assert_eq!(thin_requests(&host), before + 3, "those of curl itself");
}

/// A connection whose requests are plain again comes back, one whose requests never are does not go to
/// and fro, and what is asked in between is answered.
#[test]
fn a_connection_comes_back_from_hyper() {
    let host = start_host!(fault("reflect"), "libhandler_v1.so");
    let ask = |connection: &mut Connection, more: &str| {
        connection.send_request("GET", "/", more).unwrap();
        connection.read_answer().unwrap().assert_status(200).assert_contains("path=/");
        thin_requests(&host)
    };
    let mut connection = host.connect();
    assert_eq!(ask(&mut connection, ""), 1);
    assert_eq!(ask(&mut connection, "TE: trailers\r\n"), 1, "hyper's");
    assert_eq!(ask(&mut connection, ""), 1, "the first one that is plain again");
    assert_eq!(ask(&mut connection, ""), 1, "the second one");
    for plain in 2..5 {
        assert_eq!(ask(&mut connection, ""), plain);
    }
    for _ in 0..3 {
        assert_eq!(ask(&mut connection, "TE: trailers\r\n"), 4);
        assert_eq!(ask(&mut connection, ""), 4, "between two that are hyper's");
    }
}

#[test]
fn it_can_be_switched_off() {
    let builder = hotseat_test_support::host!().arg("--thin=false");
    let host = builder.with(fault("reflect"), "libhandler_v1.so").start();
    for (client, request) in CLIENTS {
        let mut connection = host.connect();
        connection.send(request).unwrap();
        let answer = connection.read_answer().unwrap();
        assert_eq!(answer.status, 200, "that of {client}");
    }
    assert_eq!(thin_requests(&host), 0);
}
