//! Listeners and connections, over real sockets on loopback.

use std::{time::Duration, time::UNIX_EPOCH};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{admin::testing::plane, metrics::fixture};

/// Places beside those of other requests.
const STREAMS: usize = 2;
/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: std::net::SocketAddr,
    socket: std::path::PathBuf,
    door: watch::Sender<Door>,
    ended: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listeners = vec![Listener::Tcp(tcp), Listener::Unix(UnixListener::bind(&socket).unwrap())];
    let (door, opened) = watch::channel(Door::Open);
    let router = plane(fixture::serving(UNIX_EPOCH)).router;
    let ended = tokio::spawn(async move { serve(listeners, router, opened, STREAMS).await });
    Server { address, socket, door, ended, _folder: folder }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    // The client that has nothing more to say still wants its answer.
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn both_kinds_of_sockets_are_answered() {
    let server = start().await;
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let answer = ask(tcp, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nalive\n"), "{answer}");
    let unix = UnixStream::connect(&server.socket).await.unwrap();
    let answer = ask(unix, "GET /livez HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn the_port_of_the_connection_decides_about_origins() {
    let server = start().await;
    let port = server.address.port();
    for (port, status) in [(port, "200"), (port ^ 1, "403")] {
        let tcp = TcpStream::connect(server.address).await.unwrap();
        let origin = format!("http://127.0.0.1:{port}");
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\r\n");
        let answer = ask(tcp, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn connections_are_bounded_and_come_free_again() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTION_COUNT + STREAMS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        idle.push(stream);
    }
    let mut late = TcpStream::connect(server.address).await.unwrap();
    late.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    // Nothing to wait for tells that nothing comes; an answer takes far less than this.
    let early = timeout(Duration::from_millis(200), late.read_exact(&mut first)).await;
    assert!(early.is_err(), "one connection too many was served");
    idle.pop();
    timeout(PATIENCE, late.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_streams() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    server.door.send_replace(Door::Closed);
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the stream has a proper end");
    assert_eq!(timeout(PATIENCE, idle.read(&mut first)).await.unwrap().unwrap(), 0);
    timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_its_connection() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut rest = Vec::new();
    let begun = tokio::time::Instant::now();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(begun.elapsed() >= HEADER_TIME, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_let_go() {
    let server = start().await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert!(begun.elapsed() >= HEADER_TIME, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_let_go() {
    let (stream, mut peer) = tokio::io::duplex(1);
    let mut stream = Impatient::new(stream, WRITE_TIME);
    // Whoever takes something, however little, has as long again.
    let slow = tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(WRITE_TIME - Duration::from_millis(1)).await;
            peer.read_exact(&mut [0]).await.unwrap();
        }
        peer
    });
    stream.write_all(b"12345").await.unwrap();
    let _peer = slow.await.unwrap();
    let begun = tokio::time::Instant::now();
    let error = stream.write_all(b"6").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= WRITE_TIME, "{:?}", begun.elapsed());
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Sends one request and reads the beginning of its answer.
async fn begin(stream: &mut TcpStream) -> [u8; 12] {
    stream.write_all(LIVEZ).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    first
}

#[tokio::test]
async fn behind_a_shut_door_the_backlog_waits_and_the_others_are_answered() {
    let server = start().await;
    let mut here = TcpStream::connect(server.address).await.unwrap();
    begin(&mut here).await;
    server.door.send_replace(Door::Shut);
    let mut late = TcpStream::connect(server.address).await.unwrap();
    late.write_all(LIVEZ).await.unwrap();
    let mut rest = [0; 4096];
    assert!(here.read(&mut rest).await.unwrap() > 0);
    assert_eq!(&begin(&mut here).await, b"HTTP/1.1 200");
    let mut first = [0; 12];
    // Nothing to wait for tells that nothing comes; an answer takes far less than this.
    let early = timeout(Duration::from_millis(200), late.read_exact(&mut first)).await;
    assert!(early.is_err(), "a connection was accepted");
    server.door.send_replace(Door::Open);
    timeout(PATIENCE, late.read_exact(&mut first)).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_has_left_listens_no_more_and_answers_those_who_are_here() {
    let server = start().await;
    let mut here = TcpStream::connect(server.address).await.unwrap();
    begin(&mut here).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    server.door.send_replace(Door::Left);
    let mut end = vec![0; 4096];
    loop {
        let count = timeout(PATIENCE, stream.read(&mut end)).await.unwrap().unwrap();
        if end[..count].ends_with(b"0\r\n\r\n") {
            break;
        }
        assert!(count > 0, "the stream has a proper end");
    }
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut rest = [0; 4096];
    assert!(here.read(&mut rest).await.unwrap() > 0);
    assert_eq!(&begin(&mut here).await, b"HTTP/1.1 200");
    server.door.send_replace(Door::Closed);
    timeout(PATIENCE, server.ended).await.unwrap().unwrap();
}
