//! Cases of HTTP/1: requests one behind the other, whole, refused, and one that is malformed.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Case, NEVER, Protocol, Step, pieces};

/// Units: bytes. Small enough for a case to be sent before anything of it is read.
const BODY_MAX: usize = 40_000;

/// What a plugin does with a body that it must not have read whole.
const READS: [&str; 4] = ["ignored", "dropped", "piece", "held&keep=owner"];
const ANSWERS: [&str; 5] = ["bytes", "known", "chunked", "empty", "error"];

/// Heads that are none. `{}`: where the target stands.
const BAD_HEADS: [&str; 20] = [
    "GET {} HTTP/1.1\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\n x: 1\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nx\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n",
    "GET {} HTTP/3.0\r\nHost: a\r\n\r\n",
    "GET {} \r\nHost: a\r\n\r\n",
    "GET  {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GE\0T {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "{} GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// Chunked bodies that are none.
const BAD_CHUNKS: [&str; 10] = [
    "z\r\n",
    "-5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "fffffffffffffffff\r\n",
    "\r\n",
    "5 5\r\nhello\r\n",
    "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    "5\r\nhello\r\n0\r\nx\0: 1\r\n\r\n",
];

/// A conversation.
pub(super) fn case(random: &mut StdRng) -> Case {
    let mut steps = Vec::new();
    let mut bytes = Vec::new();
    let mut due = Vec::new();
    let count = random.random_range(1..6);
    for id in 1..=count {
        let answer = request(id, &mut bytes, random);
        due.push(answer);
        // Sometimes the answers so far are read before anything more is sent.
        if random.random_ratio(1, 4) {
            steps.extend(pieces(&bytes, random).into_iter().map(Step::Send));
            steps.append(&mut due);
            bytes.clear();
        }
    }
    match random.random_range(0..10) {
        0 => steps.extend(cut_off(&bytes, random)),
        1..=2 => {
            steps.extend(pieces(&bytes, random).into_iter().map(Step::Send));
            steps.append(&mut due);
            steps.push(Step::GoesOn);
        }
        3 => {
            steps.extend(pieces(&bytes, random).into_iter().map(Step::Send));
            steps.push(Step::HalfClose);
            steps.append(&mut due);
            steps.push(Step::Ends);
        }
        _ => {
            malformed(count + 1, &mut bytes, random);
            steps.extend(pieces(&bytes, random).into_iter().map(Step::Send));
            steps.append(&mut due);
            // What waits for more waits no longer.
            steps.extend([Step::HalfClose, Step::Ends]);
        }
    }
    Case { protocol: Protocol::Http1, steps }
}

/// All but the end of what was asked, and away.
fn cut_off(bytes: &[u8], random: &mut StdRng) -> Vec<Step> {
    let end = random.random_range(0..=bytes.len());
    let mut steps: Vec<_> = pieces(&bytes[..end], random).into_iter().map(Step::Send).collect();
    steps.push(Step::Reset);
    steps
}

fn field(name: &str, value: &str, random: &mut StdRng) -> String {
    let name = match random.random_range(0..3) {
        0 => name.to_ascii_uppercase(),
        1 => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    };
    let space = *["", " ", "  ", "\t"].choose(random).unwrap_or(&" ");
    let after = *["", " ", "\t"].choose(random).unwrap_or(&"");
    format!("{name}:{space}{value}{after}\r\n")
}

/// One request that is valid and whole, or refused for what it asks: its answer.
fn request(id: u32, bytes: &mut Vec<u8>, random: &mut StdRng) -> Step {
    let nowhere = random.random_ratio(1, 8);
    let chunked = random.random_ratio(1, 3);
    let method = *["GET", "POST", "PUT", "DELETE", "BREW", "HEAD"].choose(random).unwrap_or(&"GET");
    let answer = *ANSWERS.choose(random).unwrap_or(&"bytes");
    let read = if random.random() { "all" } else { READS.choose(random).unwrap_or(&"ignored") };
    let path = if nowhere { "/nowhere" } else { "/edge" };
    let target = format!("{path}?id={id}&read={read}&answer={answer}");
    let absolute = random.random_ratio(1, 8);
    let target = if absolute { format!("http://localhost{target}") } else { target };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    head += &field("Host", "localhost", random);
    for number in 0..random.random_range(0..8) {
        head += &field(&format!("X-Field-{number}"), &"v".repeat(number * 9), random);
    }
    if random.random_ratio(1, 12) {
        head += &field("Connection", "keep-alive", random);
    }
    let size = match random.random_range(0..4) {
        0 => 0,
        1 => random.random_range(1..64),
        2 => random.random_range(64..4096),
        _ => random.random_range(4096..BODY_MAX),
    };
    let mut body = vec![b'b'; size];
    // Looks like a request.
    let inner = format!("\r\n\r\nGET /edge?id={NEVER} HTTP/1.1\r\nHost: a\r\n\r\n");
    if let Some(place) = body.get_mut(..inner.len()) {
        place.copy_from_slice(inner.as_bytes());
    }
    if chunked {
        head += &field("Transfer-Encoding", "chunked", random);
    } else if size > 0 || random.random() {
        head += &field("Content-Length", &size.to_string(), random);
    } else {
        body.clear();
    }
    bytes.extend(format!("{head}\r\n").into_bytes());
    if chunked {
        chunks(&body, bytes, random);
    } else {
        bytes.extend(body);
    }
    match (nowhere, answer, method) {
        (_, _, "HEAD") => Step::Head(id),
        (true, ..) => Step::Own(404, id),
        (_, "error", _) => Step::Own(500, id),
        _ => Step::Answer(id),
    }
}

fn chunks(mut body: &[u8], bytes: &mut Vec<u8>, random: &mut StdRng) {
    while !body.is_empty() {
        let (piece, rest) = body.split_at(random.random_range(1..=body.len()));
        let digits = match random.random_range(0..3) {
            0 => format!("{:X}", piece.len()),
            1 => format!("000{:x}", piece.len()),
            _ => format!("{:x}", piece.len()),
        };
        let extension = if random.random_ratio(1, 5) { ";ext=\"v\"" } else { "" };
        bytes.extend(format!("{digits}{extension}\r\n").into_bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
        body = rest;
    }
    let trailer = if random.random_ratio(1, 4) { "X-Trailer: 1\r\n" } else { "" };
    bytes.extend(format!("0\r\n{trailer}\r\n").into_bytes());
}

/// A request that is none, in its head or in its body, and some that would be ones behind it.
fn malformed(id: u32, bytes: &mut Vec<u8>, random: &mut StdRng) {
    if random.random() {
        let target = format!("/edge?id={NEVER}");
        let head = BAD_HEADS.choose(random).unwrap_or(&BAD_HEADS[0]);
        // Both framings at once: the request itself may be answered.
        let both = head.contains("Transfer-Encoding: chunked");
        let target = if both { format!("/edge?id={id}") } else { target };
        bytes.extend(head.replace("{}", &target).into_bytes());
    } else {
        let read = READS.choose(random).unwrap_or(&"ignored");
        let target = format!("/edge?id={id}&read={read}");
        let head = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let rest = BAD_CHUNKS.choose(random).unwrap_or(&"z\r\n");
        bytes.extend(format!("POST {target} HTTP/1.1\r\n{head}{rest}").into_bytes());
    }
    for _ in 0..random.random_range(0..3) {
        bytes.extend(format!("GET /edge?id={NEVER} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes());
    }
}
