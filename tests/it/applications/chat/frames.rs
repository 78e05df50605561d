//! What comes over a socket byte by byte, and what must not.

use hotseat_test_support::{Connection, Host, eventually};

use super::{Member, builder, readers};

const KEY: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// In the room `lobby`, with the room as it was unread.
#[track_caller]
pub(super) fn open(host: &Host) -> Connection {
    let mut connection = host.connect();
    connection.send_request("GET", "/chat/rooms/lobby/socket?name=eve", KEY).unwrap();
    connection.read_head().unwrap().assert_status(101);
    connection
}

/// The next frame: opcode and payload.
#[track_caller]
pub(super) fn receive(connection: &mut Connection) -> (u8, Vec<u8>) {
    let head = connection.read_exact(2).unwrap();
    let length = match head[1] {
        126 => {
            let long = connection.read_exact(2).unwrap();
            usize::from(u16::from_be_bytes(long.try_into().unwrap()))
        }
        127 => {
            let long = connection.read_exact(8).unwrap();
            usize::try_from(u64::from_be_bytes(long.try_into().unwrap())).unwrap()
        }
        short => usize::from(short),
    };
    (head[0] & 0x0f, connection.read_exact(length).unwrap())
}

/// The close frame, which ends the connection.
#[track_caller]
pub(super) fn closed(connection: &mut Connection) -> u16 {
    loop {
        let (opcode, payload) = receive(connection);
        if opcode == 8 {
            // The answer, masked with zeros.
            connection.send([&[0x88, 0x82, 0, 0, 0, 0], &payload[..2]].concat()).unwrap();
            connection.wait_closed().unwrap();
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

/// Each ends its own socket, with a word, and nobody else's.
#[test]
fn wrong_frames_end_their_socket() {
    let host = builder("").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    let cases: [(&str, &[u8], u16); 9] = [
        ("no mask", &[0x81, 1, b'a'], 1002),
        ("a reserved bit", &[0xc1, 0x81, 0, 0, 0, 0, b'a'], 1002),
        ("an opcode that nobody knows", &[0x83, 0x81, 0, 0, 0, 0, b'a'], 1002),
        ("a continuation of nothing", &[0x80, 0x81, 0, 0, 0, 0, b'a'], 1002),
        ("a ping in pieces", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("no text", &[0x81, 0x81, 0, 0, 0, 0, 0xff], 1002),
        ("too long", &[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("bytes", &[0x82, 0x81, 0, 0, 0, 0, b'a'], 1003),
        ("a close", &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8], 1000),
    ];
    for (name, bytes, code) in cases {
        let mut connection = open(&host);
        connection.send(bytes).unwrap();
        assert_eq!(closed(&mut connection), code, "{name}");
        ann.say(name);
    }
    eventually!(readers(&host) == 1, "all but one have left");
}

/// A message in three frames, with a ping between them.
#[test]
fn a_message_in_pieces_is_one() {
    let host = builder("").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    let mut connection = open(&host);
    let first = [0x01, 0x81, 0, 0, 0, 0, b'a'];
    let ping = [0x89, 0x81, 0, 0, 0, 0, b'?'];
    let rest = [0x00, 0x81, 0, 0, 0, 0, b'b', 0x80, 0x81, 0, 0, 0, 0, b'c'];
    connection.send([&first[..], &ping, &rest].concat()).unwrap();
    ann.wait_for("abc");
    let opcodes = [0; 3].map(|_| receive(&mut connection).0);
    assert_eq!(opcodes.iter().filter(|it| **it == 10).count(), 1, "a pong: {opcodes:?}");
}

/// One that answers no ping is let go, and told why; one that does stays.
#[test]
fn who_does_not_answer_is_let_go() {
    let host = builder("ping_seconds = 1").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    std::thread::scope(|scope| {
        // Its library answers while it waits.
        scope.spawn(|| ann.wait_for("the end"));
        let mut silent = open(&host);
        let mut opcodes = Vec::new();
        let code = loop {
            let (opcode, payload) = receive(&mut silent);
            if opcode == 8 {
                break u16::from_be_bytes([payload[0], payload[1]]);
            }
            opcodes.push(opcode);
        };
        assert_eq!((opcodes, code), (vec![1, 9, 9, 9], 1001));
        Member::join(&host, "lobby", "bob").say("the end");
    });
}
