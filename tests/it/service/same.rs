//! One application, twice: as a plugin and as a program of its own. The same requests, byte for byte,
//! get the same answers, byte for byte, but for what is named here.

use std::net::SocketAddr;

use hotseat_test_support::{Builder, Connection, fault, host};

use super::{Program, plain};

mod differs;
mod http2;

fn host() -> Builder {
    host!().with(fault("stock_app"), "libhandler_v1.so")
}

/// What comes back until the connection ends.
#[track_caller]
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = Connection::open(address).unwrap();
    connection.send(request).unwrap();
    plain(&connection.read_to_end().unwrap())
}

/// A request with a body, the last of its connection.
fn with_body(head: &str, body: &str) -> String {
    format!(
        "{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One without.
fn without(head: &str) -> String {
    format!("{head}\r\nHost: a\r\nConnection: close\r\n\r\n")
}

/// Requests without a body.
fn asked() -> Vec<(&'static str, String)> {
    vec![
        ("root", without("GET / HTTP/1.1")),
        ("head", without("HEAD / HTTP/1.1")),
        ("head of a stream", without("HEAD /pieces HTTP/1.1")),
        ("state", without("GET /shop HTTP/1.1")),
        ("json out", without("GET /json HTTP/1.1")),
        ("path", without("GET /path/17/a/b%20c/d HTTP/1.1")),
        ("bad path", without("GET /path/x/a HTTP/1.1")),
        ("path of no text", without("GET /path/17/%ff HTTP/1.1")),
        ("query", without("GET /query?page=3&word=a%26b HTTP/1.1")),
        ("bad query", without("GET /query?page=x HTTP/1.1")),
        ("headers", without("GET /headers HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\nX-Odd: \u{fc}")),
        ("request", without("PROPFIND /request?a HTTP/1.1")),
        ("request of 1.0", "GET /request HTTP/1.0\r\nHost: a\r\n\r\n".to_owned()),
        (
            "kept alive in 1.0",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n".to_owned(),
        ),
        (
            "ended by its answer",
            "GET /last HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        ("client", without("GET /client HTTP/1.1")),
        ("uris", without("GET /uri?a=b HTTP/1.1")),
        ("uris below", without("GET /nested/uri?a=b HTTP/1.1")),
        ("an absolute target", without("GET http://a/uri?a=b HTTP/1.1")),
        ("an absolute target below", without("GET https://a/nested/uri HTTP/1.1")),
        ("an absolute target without a path", without("GET http://a?q HTTP/1.1")),
        ("who is asked by it", without("PROPFIND HTTP://a/request?a HTTP/1.1")),
        (
            "an absolute target with a port",
            "GET http://b.example:81/request HTTP/1.1\r\nHost: b.example:81\r\n\
             Connection: close\r\n\r\n"
                .to_owned(),
        ),
        ("an empty query", without("GET /uri? HTTP/1.1")),
        ("matched", without("GET /matched/5 HTTP/1.1")),
        ("matched below", without("GET /nested/inner/5 HTTP/1.1")),
        ("status", without("GET /status/418 HTTP/1.1")),
        ("status without a body", without("GET /status/304 HTTP/1.1")),
        ("a bad status", without("GET /status/99 HTTP/1.1")),
        ("redirect", without("GET /away HTTP/1.1")),
        ("empty", without("GET /empty HTTP/1.1")),
        ("nothing there", without("GET /nothing HTTP/1.1")),
        ("nothing nested", without("GET /nested/nothing HTTP/1.1")),
        ("method", without("DELETE /shop HTTP/1.1")),
        ("options", without("OPTIONS /shop HTTP/1.1")),
        ("events", without("GET /events HTTP/1.1")),
        ("pieces", without("GET /pieces HTTP/1.1")),
        ("trailers", without("GET /trailers HTTP/1.1\r\nTE: trailers")),
        ("cookies", without("GET /headers HTTP/1.1\r\nCookie: a=1; b=2")),
        ("blocking", without("GET /blocking HTTP/1.1")),
        ("blocking in place", without("GET /in_place HTTP/1.1")),
        ("task", without("GET /task HTTP/1.1")),
        ("timeout", without("GET /slow HTTP/1.1")),
        ("compressed", without("GET /packed HTTP/1.1\r\nAccept-Encoding: gzip")),
        ("not compressed", without("GET /packed HTTP/1.1")),
        ("socket without an upgrade", without("GET /socket HTTP/1.1")),
    ]
}

/// Requests with one, and several at once.
fn sent() -> Vec<(&'static str, String)> {
    let json = "Content-Type: application/json";
    let form = "Content-Type: application/x-www-form-urlencoded";
    let parts = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--X\r\n\
                 Content-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\n\
                 Content-Type: text/plain\r\n\r\nfile\r\n--X--\r\n";
    let chunked = "\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let large = "x".repeat(300_000);
    vec![
        ("post where get is, too", with_body("POST / HTTP/1.1", "body")),
        (
            "json in",
            with_body(&format!("POST /order HTTP/1.1\r\n{json}"), "{\"item\":\"a\",\"count\":1}"),
        ),
        ("no json", with_body(&format!("POST /order HTTP/1.1\r\n{json}"), "{\"item\"")),
        ("other json", with_body(&format!("POST /order HTTP/1.1\r\n{json}"), "{\"item\":1}")),
        (
            "json without its type",
            with_body("POST /order HTTP/1.1", "{\"item\":\"a\",\"count\":1}"),
        ),
        ("form", with_body(&format!("POST /form HTTP/1.1\r\n{form}"), "item=a+b%20c&count=3")),
        ("bad form", with_body(&format!("POST /form HTTP/1.1\r\n{form}"), "item=a&count=x")),
        ("length", with_body("POST /length HTTP/1.1", &large)),
        ("no length", format!("POST /length HTTP/1.1{chunked}{chunks}")),
        ("echo", with_body("POST /echo HTTP/1.1", "hello world")),
        ("trailers in", format!("POST /sum HTTP/1.1{chunked}5\r\nhello\r\n0\r\nx-sum: 17\r\n\r\n")),
        ("no trailers in", with_body("POST /sum HTTP/1.1", "hello")),
        ("read in a task", with_body("POST /spawned HTTP/1.1", &large)),
        ("read in a task by chunks", format!("POST /spawned HTTP/1.1{chunked}{chunks}")),
        ("too much", with_body("POST /limited HTTP/1.1", &"x".repeat((1 << 20) + 1))),
        (
            "multipart",
            with_body(
                "POST /multipart HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=X",
                parts,
            ),
        ),
        (
            "torn multipart",
            with_body(
                "POST /multipart HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=X",
                &parts[..90],
            ),
        ),
        ("pipelined", format!("{two}{two}{}", without("GET /shop HTTP/1.1"))),
        ("unread body", with_body("POST /shop HTTP/1.1", "nobody reads it")),
    ]
}

#[test]
fn answers_are_the_same() {
    let program = Program::start();
    let host = host().start();
    let requests = [asked(), sent()].concat();
    let mut differ = Vec::new();
    for (name, request) in &requests {
        let alone = answer(program.address, request.as_bytes());
        let plugin = answer(host.data(), request.as_bytes());
        if alone != plugin {
            differ.push(format!("--- {name}\n{alone:.800}\n+++ as a plugin\n{plugin:.800}\n"));
        }
    }
    assert!(requests.len() >= 50);
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), requests.len(), differ.join("\n"));
}
