//! Connections that a service takes over: WebSockets of axum, unmodified.

use std::net::SocketAddr;

use hotseat_test_support::{Connection, fault, host};

use super::{Program, plain};

const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A frame of a client, masked with zeros.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// All that comes back to `sent`, which ends the conversation.
#[track_caller]
fn heard(address: SocketAddr, sent: &[u8]) -> String {
    let mut connection = Connection::open(address).unwrap();
    let (_, heard) = connection.send_beside([sent], Connection::read_to_end).unwrap();
    plain(&heard.unwrap_or_else(|error| format!("{error}").into_bytes()))
}

#[test]
fn conversations_are_the_same() {
    let program = Program::start();
    let host = host!().with(fault("stock_app"), "libhandler_v1.so").start();
    let large = vec![b'z'; 300_000];
    let close = frame(8, &1000_u16.to_be_bytes());
    let conversations = [
        ("text", "", vec![frame(1, b"hello"), close.clone()]),
        (
            "a protocol",
            "Sec-WebSocket-Protocol: echo, other\r\n",
            vec![frame(1, b"a"), close.clone()],
        ),
        ("another protocol", "Sec-WebSocket-Protocol: other\r\n", vec![close.clone()]),
        ("a large message", "", vec![frame(2, &large), close.clone()]),
        ("a ping", "", vec![frame(9, b"are you there"), close.clone()]),
        ("the service ends", "", vec![frame(1, b"bye")]),
        ("no frame", "", vec![vec![0xff; 32]]),
    ];
    for (name, more, frames) in conversations {
        let mut sent = format!("{HANDSHAKE}{more}\r\n").into_bytes();
        frames.iter().for_each(|frame| sent.extend(frame));
        let [alone, plugin] = [program.address, host.data()].map(|at| heard(at, &sent));
        assert!(alone == plugin, "{name}\n{alone:.500}\n+++ as a plugin\n{plugin:.500}");
        assert!(alone.starts_with("HTTP/1.1 101"), "{name}: {alone:.500}");
    }
}

/// A protocol of its own, which the application takes over by `hyper::upgrade::on`.
#[test]
fn another_protocol_is_the_same() {
    let program = Program::start();
    let host = host!().with(fault("stock_app"), "libhandler_v1.so").start();
    let head = "GET /shout HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";
    let large = [&vec![b'z'; 300_000][..], b"bye"].concat();
    for (name, text) in [("short", &b"hello bye"[..]), ("long", &large)] {
        let sent = [head.as_bytes(), text].concat();
        let [alone, plugin] = [program.address, host.data()].map(|at| heard(at, &sent));
        assert!(alone == plugin, "{name}\n{alone:.500}\n+++ as a plugin\n{plugin:.500}");
        assert!(plugin.starts_with("HTTP/1.1 101"), "{name}: {plugin:.500}");
        assert!(plugin.ends_with("BYE"), "{name}: {plugin:.500}");
    }
}

/// Open conversations go on across a swap, and end with their clients; then the version is gone.
#[test]
fn a_conversation_outlives_its_version() {
    let host = host!().with(fault("stock_app"), "libhandler_v1.so").start();
    let mut socket = crate::stream::Socket::open(&host, "/socket");
    socket.check_echo(b"before");
    host.deploy(&fault("tokio_handler"), "libhandler_v2.so").swapped();
    socket.check_echo(b"after");
    drop(socket);
    host.assert_all_unloaded("the application");
}
