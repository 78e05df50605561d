//! HTTP/2: streams end where they began, and the connection is told to go.

use hotseat_test_support::{
    Connection,
    http2::{Http2Load, Http2Plan},
};

use super::{upgrade, upgrade_and_drain, whoami};

/// Streams side by side, all the time, across five workers: none fails.
#[test]
fn no_stream_fails() {
    let host = whoami().start();
    let plan = Http2Plan::default();
    let connections = u64::try_from(plan.connections).unwrap();
    let load = Http2Load::start(host.data(), plan);
    load.wait_for(100);
    let mut pids = vec![host.worker_pid()];
    for round in 1..=5 {
        let (old, new) = upgrade(&host);
        pids.push(new);
        host.wait_gone(old);
        hotseat_test_support::eventually!(
            load.so_far().goaways >= round * connections,
            "each connection was told to go {round} times: {:#?}",
            load.so_far()
        );
        load.wait_for(100);
    }
    let report = load.stop();
    report.assert_clean();
    assert!(pids.iter().all(|pid| report.pids.contains(pid)), "{pids:?} in {report:#?}");
}

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Frames by hand. # Source: RFC 9113, 4.1 and 6; RFC 7541, appendix A.
struct Frames(Connection);

impl Frames {
    fn open(mut connection: Connection) -> Self {
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut frames = Self(connection);
        frames.send(SETTINGS, 0, 0, b"");
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.send(frame).unwrap();
    }

    /// POST of `/`, whose body comes later.
    fn begin(&mut self, stream: u32) {
        // `:method: POST`, `:scheme: http`, `:path: /` by their numbers, `:authority: a` in letters.
        self.send(HEADERS, END_HEADERS, stream, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    }

    /// The next frame but for settings and pings, which are answered: kind, flags, stream, payload.
    /// `None`: the connection has ended.
    fn receive(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let head = self.0.read_exact(9).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            let payload = self.0.read_exact(usize::try_from(length).unwrap()).unwrap();
            match (head[3], head[4]) {
                (SETTINGS | PING, ACK) => {}
                (SETTINGS, _) => self.send(SETTINGS, ACK, 0, b""),
                (PING, _) => self.send(PING, ACK, 0, &payload),
                (kind, flags) => return Some((kind, flags, stream, payload)),
            }
        }
    }

    /// As above, without what only adds to windows.
    fn answers(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        const WINDOW_UPDATE: u8 = 8;
        loop {
            let frame = self.receive()?;
            if frame.0 != WINDOW_UPDATE {
                return Some(frame);
            }
        }
    }
}

fn last_stream(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// First a GOAWAY that allows every stream, because some may be on their way; then one that names
/// the last; what was begun by then is answered, and only then the connection ends.
#[test]
fn a_goaway_comes_before_the_end() {
    let host = whoami().start();
    let mut frames = Frames::open(host.connect());
    frames.begin(1);
    let (old, _) = upgrade_and_drain(&host);
    let (kind, _, _, payload) = frames.answers().unwrap();
    assert_eq!((kind, last_stream(&payload)), (GOAWAY, u32::MAX >> 1), "the first word");
    // As if it had been sent before the client heard the first word.
    frames.begin(3);
    for stream in [1, 3] {
        frames.send(DATA, END_STREAM, stream, b"the body");
    }
    let mut ended = Vec::new();
    let mut last = None;
    while let Some((kind, flags, stream, payload)) = frames.answers() {
        assert_ne!(kind, RST, "stream {stream} was reset");
        if kind == GOAWAY {
            last = Some(last_stream(&payload));
        } else if flags & END_STREAM != 0 {
            ended.push(stream);
        }
    }
    ended.sort_unstable();
    assert!(last.is_some_and(|last| last < u32::MAX >> 1), "the last word: {last:?}");
    assert_eq!(ended, [1, 3], "what was sent between the two words was answered");
    host.wait_gone(old);
}
