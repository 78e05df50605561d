//! Cases of HTTP/2: streams beside each other, frames that mean nothing between them, and at the
//! end something that ends the connection.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _, seq::SliceRandom as _};

use super::{Case, NEVER, Protocol, Step, pieces};
use crate::http2::{
    hpack,
    raw::{Frame, code, flag, head, kind},
};

/// Of all bodies of a case: below the first window of a connection. Units: bytes.
const BODIES_MAX: usize = 60_000;

/// The frames of one stream, in order; none may stand between those of one entry.
struct Stream {
    frames: Vec<Vec<u8>>,
    outcome: Step,
}

/// A conversation.
pub(super) fn case(random: &mut StdRng) -> Case {
    let mut left = BODIES_MAX;
    let count = random.random_range(1..7);
    let mut streams: Vec<_> = (0..count).map(|at| stream(2 * at + 1, &mut left, random)).collect();
    let mut due: Vec<Step> = streams.iter().map(|stream| stream.outcome.clone()).collect();
    let mut bytes = Vec::new();
    // Streams begin in order; after that their frames come as they like.
    let mut begun = 0;
    while streams.iter().any(|stream| !stream.frames.is_empty()) {
        let at = random.random_range(0..=begun).min(streams.len() - 1);
        if streams[at].frames.is_empty() {
            continue;
        }
        bytes.extend(streams[at].frames.remove(0));
        if at == begun {
            begun += 1;
        }
        if random.random_ratio(1, 3) {
            bytes.extend(noise(random));
        }
    }
    due.shuffle(random);
    let mut steps: Vec<_> = pieces(&bytes, random).into_iter().map(Step::Send).collect();
    let next = 2 * count + 1;
    match random.random_range(0..8) {
        0 => steps.push(Step::Reset),
        1..=3 => {
            steps.append(&mut due);
            steps.push(Step::GoesOn);
        }
        _ => {
            steps.append(&mut due);
            let end = fatal(next, random);
            steps.extend(pieces(&end, random).into_iter().map(Step::Send));
            steps.push(Step::Ends);
        }
    }
    Case { protocol: Protocol::Http2, steps }
}

/// HEADERS, cut into CONTINUATION, padded, with a priority.
fn headers(stream: u32, block: &[u8], ends: bool, random: &mut StdRng) -> Vec<u8> {
    let mut flags = if ends { flag::END_STREAM } else { 0 };
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = block;
    for _ in 0..random.random_range(0..3) {
        let (part, tail) = rest.split_at(random.random_range(0..=rest.len()));
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    let padding = if random.random_ratio(1, 4) { random.random_range(0..40) } else { 0 };
    let mut first = Vec::new();
    if padding > 0 {
        flags |= flag::PADDED;
        first.push(padding);
    }
    if random.random_ratio(1, 4) {
        flags |= flag::PRIORITY;
        first.extend([0, 0, 0, 0, random.random()]);
    }
    first.extend(parts[0]);
    first.extend(vec![0; usize::from(padding)]);
    let last = parts.len() - 1;
    let ending = |at: usize| if at == last { flag::END_HEADERS } else { 0 };
    let mut bytes = Frame::bytes(kind::HEADERS, flags | ending(0), stream, &first);
    for (at, part) in parts.iter().enumerate().skip(1) {
        bytes.extend(Frame::bytes(kind::CONTINUATION, ending(at), stream, part));
    }
    bytes
}

fn data(stream: u32, piece: &[u8], ends: bool, random: &mut StdRng) -> Vec<u8> {
    let flags = if ends { flag::END_STREAM } else { 0 };
    if random.random_ratio(1, 4) {
        let padding: u8 = random.random_range(0..30);
        let padded = [&[padding], piece, &vec![0; usize::from(padding)]].concat();
        return Frame::bytes(kind::DATA, flags | flag::PADDED, stream, &padded);
    }
    Frame::bytes(kind::DATA, flags, stream, piece)
}

/// One stream: a valid request, one that is given up, or one that is malformed by itself.
fn stream(stream: u32, left: &mut usize, random: &mut StdRng) -> Stream {
    let answer = *["bytes", "known", "chunked", "trailers", "empty"].choose(random).unwrap_or(&"");
    let read = ["ignored", "dropped", "piece", "all", "held&keep=owner", "woken", "freed"];
    let read = read.choose(random).unwrap_or(&"all");
    let target = format!("/edge?id={stream}&read={read}&answer={answer}");
    let size = match random.random_range(0..3) {
        0 => 0,
        1 => random.random_range(1..100),
        _ => random.random_range(100..16_000),
    };
    // Padding counts too.
    let size = if size + 2000 > *left { 0 } else { size };
    *left -= if size > 0 { size + 1000 } else { 0 };
    let length = size.to_string();
    let (mut fields, mut outcome) = (Vec::new(), Step::Answer(stream));
    if random.random() {
        fields.push(("content-length", length.as_str()));
    }
    match random.random_range(0..10) {
        0 => {
            let bad = [
                ("connection", "close"),
                ("transfer-encoding", "chunked"),
                ("te", "gzip"),
                (":status", "200"),
            ];
            fields.push(*bad.choose(random).unwrap_or(&bad[0]));
            outcome = Step::Maybe(stream);
        }
        1 if size > 0 => {
            fields.retain(|(name, _)| *name != "content-length");
            fields.push(("content-length", "1000000"));
            outcome = Step::Maybe(stream);
        }
        _ => {}
    }
    let trailers = size > 0 && random.random_ratio(1, 4);
    let block = head("POST", &target, &fields);
    let ends = if size == 0 { flag::END_STREAM } else { 0 };
    let mut frames = vec![match outcome {
        // Cut in several frames, such a head ends the whole connection: h2 forgets that more follows.
        Step::Maybe(_) => Frame::bytes(kind::HEADERS, ends | flag::END_HEADERS, stream, &block),
        _ => headers(stream, &block, size == 0, random),
    }];
    let body = vec![b'b'; size];
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(random.random_range(1..=rest.len()));
        frames.push(data(stream, piece, tail.is_empty() && !trailers, random));
        rest = tail;
    }
    if trailers {
        let block = hpack::encode(&[("x-trailer", "1")]);
        frames.push(headers(stream, &block, true, random));
    }
    if random.random_ratio(1, 8) {
        // Given up, somewhere on the way.
        frames.truncate(random.random_range(1..=frames.len()));
        let reason = [code::CANCEL, code::NO_ERROR, code::PROTOCOL_ERROR, 77];
        let reason = reason.choose(random).unwrap_or(&0).to_be_bytes();
        frames.push(Frame::bytes(kind::RST_STREAM, 0, stream, &reason));
        outcome = Step::Maybe(stream);
    }
    Stream { frames, outcome }
}

/// What a connection must bear between the frames of its streams.
fn noise(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..6) {
        0 => Frame::bytes(kind::PING, 0, 0, &random.random::<[u8; 8]>()),
        1 => Frame::bytes(0x40 + random.random_range(0..40), random.random(), 0, b"unknown"),
        2 => {
            let stream = random.random_range(0..40) * 2 + 1;
            Frame::bytes(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, random.random()])
        }
        3 => {
            Frame::bytes(kind::WINDOW_UPDATE, 0, 0, &random.random_range(1_u32..100).to_be_bytes())
        }
        4 => {
            // A setting that nobody knows.
            let value = random.random::<[u8; 4]>();
            Frame::bytes(kind::SETTINGS, 0, 0, &[&[0x7f, 0x7f][..], &value].concat())
        }
        _ => Frame::bytes(kind::SETTINGS, 0, 0, b""),
    }
}

/// What a connection must not bear, and a request behind it.
fn fatal(stream: u32, random: &mut StdRng) -> Vec<u8> {
    let never = head("GET", &format!("/edge?id={NEVER}"), &[]);
    let ends = flag::END_HEADERS | flag::END_STREAM;
    let asks = |stream: u32| Frame::bytes(kind::HEADERS, ends, stream, &never);
    let frame = |kind: u8, stream: u32, payload: &[u8]| Frame::bytes(kind, 0, stream, payload);
    let mut bytes = match random.random_range(0..16) {
        0 => frame(kind::DATA, 0, b"nobody's"),
        1 => Frame::bytes(kind::HEADERS, ends, 0, &never),
        2 => frame(kind::DATA, stream + 10, b"of an idle stream"),
        3 => asks(stream + 1),
        4 => frame(kind::WINDOW_UPDATE, 0, &0_u32.to_be_bytes()),
        5 => frame(kind::WINDOW_UPDATE, 0, &0x7fff_ffff_u32.to_be_bytes()),
        6 => frame(kind::DATA, 1, &[0; 16_385]),
        7 => frame(kind::CONTINUATION, stream, &never),
        8 => {
            let open = Frame::bytes(kind::HEADERS, flag::END_STREAM, stream, &never[..4]);
            [open, frame(kind::PING, 0, b"in block")].concat()
        }
        9 => frame(kind::SETTINGS, 0, b"12345"),
        10 => Frame::bytes(kind::SETTINGS, flag::ACK, 0, b"123456"),
        11 => frame(kind::PING, 0, b"1234567"),
        12 => frame(kind::PUSH_PROMISE, 1, b"\0\0\0\x02"),
        // An index that stands in no table.
        13 => Frame::bytes(kind::HEADERS, ends, stream, &[0xff, 0xff, 0xff, 0x0f]),
        14 => frame(kind::RST_STREAM, stream + 10, &code::CANCEL.to_be_bytes()),
        // Its padding is longer than it is.
        _ => Frame::bytes(kind::HEADERS, ends | flag::PADDED, stream, &[200, 0, 0]),
    };
    bytes.extend(asks(stream + 20));
    bytes
}
