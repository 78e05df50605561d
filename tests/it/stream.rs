//! What is under way when a version changes goes on: bodies both ways, downloads, WebSockets.

use hotseat_test_support::{Connection, Host, fault, host, library, plugin, start_host};

/// `echo` at `/echo`, `handler` at `/`.
fn echo_host() -> Host {
    host!()
        .with(plugin("handler_v1"), "libhandler_v1.so")
        .with(plugin("echo_v1"), "libecho_v1.so")
        .start()
}

/// Swaps `handler` and `echo`.
#[track_caller]
fn swap_both(host: &Host) {
    host.deploy(&plugin("handler_v2"), "libhandler_v2.so").swapped();
    let bytes = [library::bytes(&plugin("echo_v1")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libecho_v2.so").swapped();
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reads chunks until `count` bytes are there.
#[track_caller]
fn read_chunks(connection: &mut Connection, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let chunk = connection.read_chunk().unwrap();
        assert!(!chunk.is_empty(), "the body ended after {} bytes", bytes.len());
        bytes.extend(chunk);
    }
    bytes
}

/// A body that streams in and out at once goes on across a swap of its own plugin.
#[test]
fn a_body_streams_both_ways_across_a_swap() {
    let host = echo_host();
    let mut connection = host.connect();
    connection
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    connection.send(chunk(b"before")).unwrap();
    connection.read_head().unwrap().assert_status(200);
    assert_eq!(read_chunks(&mut connection, 6), b"before");
    swap_both(&host);
    connection.send(chunk(b"after")).unwrap();
    assert_eq!(read_chunks(&mut connection, 5), b"after");
    connection.send(b"0\r\n\r\n").unwrap();
    assert!(connection.read_chunk().unwrap().is_empty(), "a proper end");
    // The same connection meets the new version afterwards.
    connection.get("/").unwrap().assert_contains("v2");
}

/// A large body comes back as it was sent, and memory does not hold it.
#[test]
fn a_large_body_is_not_buffered() {
    let host = echo_host();
    let before = hotseat_test_support::procfs::rss_kib(host.worker_pid());
    let mut connection = host.connect();
    let piece = vec![b'e'; 1 << 20];
    connection
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for step in 0..64 {
        connection.send(chunk(&piece)).unwrap();
        if step == 0 {
            connection.read_head().unwrap().assert_status(200);
        }
        assert_eq!(read_chunks(&mut connection, piece.len()), piece);
    }
    connection.send(b"0\r\n\r\n").unwrap();
    assert!(connection.read_chunk().unwrap().is_empty());
    let after = hotseat_test_support::procfs::rss_kib(host.worker_pid());
    assert!(after < before + 32 * 1024, "{before} to {after} KiB for a body of 64 MiB");
}

/// A reader that does not read holds the plugin back: nothing piles up in the host.
#[test]
fn back_pressure_reaches_the_plugin() {
    let host = start_host!(fault("big_body"), "libhandler_v1.so");
    let before = hotseat_test_support::procfs::rss_kib(host.worker_pid());
    let mut connection = host.connect();
    connection.send_request("GET", "/?kib=131072", "").unwrap();
    connection.read_head().unwrap().assert_status(200);
    // Another connection's requests bound the time in which the body could have piled up.
    for _ in 0..200 {
        host.get("/?kib=64").assert_status(200);
    }
    let after = hotseat_test_support::procfs::rss_kib(host.worker_pid());
    assert!(after < before + 32 * 1024, "{before} to {after} KiB for a body of 128 MiB");
}

/// An endless stream is told of the drain and ends properly.
#[test]
fn an_endless_stream_ends_properly() {
    let host = start_host!(fault("drains"), "libhandler_v1.so");
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap(), b"begun;");
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    assert_eq!(connection.read_body(&head).unwrap(), b"ended;");
    events.wait_generation(1, "unloaded");
    connection.get("/").unwrap().assert_contains("v2");
}

/// A WebSocket of the client's side, as small as RFC 6455 allows.
pub(crate) struct Socket {
    connection: Connection,
}

impl Socket {
    #[track_caller]
    pub(crate) fn open(host: &Host, target: &str) -> Self {
        let mut connection = host.connect();
        let extra = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        connection.send_request("GET", target, extra).unwrap();
        let head = connection.read_head().unwrap();
        head.assert_status(101);
        // The answer to this very key, from the RFC's own example.
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Self { connection }
    }

    /// One short masked frame.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        let mask = [1, 2, 3, 4];
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let mut frame = vec![0x80 | opcode, 0x80 | length];
        frame.extend(mask);
        frame.extend(masked);
        self.connection.send(frame).unwrap();
    }

    /// The next short frame: opcode and payload.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> (u8, Vec<u8>) {
        let head = self.connection.read_exact(2).unwrap();
        let length = usize::from(head[1]);
        assert!(length < 126, "a short, unmasked frame");
        (head[0] & 0x0f, self.connection.read_exact(length).unwrap())
    }

    #[track_caller]
    pub(crate) fn check_echo(&mut self, text: &[u8]) {
        self.send(1, text);
        assert_eq!(self.receive(), (1, text.to_vec()));
    }
}

/// A WebSocket goes on across a swap of another plugin, and across refusals of its own.
#[test]
fn a_websocket_goes_on_across_other_swaps() {
    let host = echo_host();
    let mut socket = Socket::open(&host, "/echo/ws");
    socket.check_echo(b"before");
    host.deploy(&plugin("handler_v2"), "libhandler_v2.so").swapped();
    socket.check_echo(b"after");
    host.deploy(&fault("new_fails"), "libecho_v2.so").refused();
    socket.check_echo(b"after a refusal");
}

/// A swap of its own plugin tells it to go: a close frame with 1012, and the old code is unmapped.
#[test]
fn a_websocket_is_closed_properly_by_its_own_swap() {
    let host = echo_host();
    let generation = host.active("echo");
    let mut socket = Socket::open(&host, "/echo/ws");
    socket.check_echo(b"before");
    let mut events = host.events();
    swap_both(&host);
    let (opcode, payload) = socket.receive();
    assert_eq!((opcode, payload.get(..2)), (8, Some(&1012_u16.to_be_bytes()[..])));
    socket.send(8, &1012_u16.to_be_bytes());
    events.wait_generation(generation, "unloaded");
    Socket::open(&host, "/echo/ws").check_echo(b"the new version");
}

/// Keep-alive connections live through swaps, pipelined ones too.
#[test]
fn connections_live_through_swaps() {
    let host = crate::plain_host();
    let mut connection = host.connect();
    let bytes: Vec<_> = ["plain_v1", "plain_v2"].map(|name| library::bytes(&fault(name))).into();
    for number in 0..20_u8 {
        let content = [bytes[usize::from(number % 2)].clone(), vec![number]].concat();
        host.deploy_bytes(&content, "libhandler_v9.so").swapped();
        let wanted = if number % 2 == 0 { "v1" } else { "v2" };
        for answer in hotseat_test_support::traffic::pipeline(&mut connection, "/", 4).unwrap() {
            answer.assert_status(200);
            assert_eq!(answer.text(), wanted);
        }
    }
}

/// A half-sent head and a half-sent body, each begun before a swap and ended after it.
#[test]
fn half_sent_requests_end_after_a_swap() {
    let host = start_host!(fault("versioned"), "libhandler_v1.so");
    let mut head = host.connect();
    head.send("GET / HTTP/1.1\r\nHo").unwrap();
    let mut body = host.connect();
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf-").unwrap();
    let holds = || {
        let plugin = hotseat_test_support::wire::plugin(&host.status(), "handler");
        hotseat_test_support::wire::number(&plugin, "/active/holder_count")
    };
    hotseat_test_support::eventually!(holds() == 1, "the request whose body is half sent");
    let bytes = [library::bytes(&fault("versioned")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libhandler_v2.so").swapped();
    head.send("st: a\r\n\r\n").unwrap();
    assert_eq!(head.read_answer().unwrap().text(), "v2;".repeat(64));
    body.send("sent!").unwrap();
    assert_eq!(body.read_answer().unwrap().text(), "v1;".repeat(64));
    for connection in [&mut head, &mut body] {
        assert_eq!(connection.get("/").unwrap().text(), "v2;".repeat(64));
    }
}
