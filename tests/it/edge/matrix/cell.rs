//! One cell of the matrix: who asks what, and what has to come of it.
//!
//! Owns the table's columns, which of their combinations make sense, and the answer that each must
//! get. Knows nothing of how a request is sent.

use std::fmt;

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http10,
    Http2,
}

/// The request's body. Units: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Sized(usize),
    /// Of unknown length, with trailers.
    Chunked(usize),
}

impl Sent {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Sized(size) | Self::Chunked(size) => size,
        }
    }
}

/// What the plugin does with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Ignored,
    Dropped,
    Piece,
    All,
    /// Kept by the answer, as long as the host has it.
    Held,
    /// Read by wakers that let go of it when they are woken.
    Woken,
    /// Read by wakers that let go of it when they are dropped.
    Freed,
}

/// What is answered; the last five by the host itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Bytes,
    Known,
    Chunked,
    Trailers,
    Empty,
    Back,
    Early,
    Error,
    Panic,
    Upgrade,
    NoMount,
    Vacant,
    BadExpect,
    TooLarge,
    Timeout,
}

/// What the client does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// It sends all, reads all, and asks again on the same connection.
    Waits,
    /// It resets its stream half way through its body (HTTP/2 alone).
    Resets,
    /// It resets its connection half way through its body.
    Vanishes,
    /// It ends its side behind its request.
    HalfCloses,
    /// It ends its side half way through its body.
    EndsEarly,
    /// It reads nothing of a long answer.
    StopsReading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) protocol: Protocol,
    pub(super) sent: Sent,
    pub(super) read: Read,
    pub(super) answer: Answer,
    pub(super) client: Client,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, sent, read, answer, client } = self;
        write!(f, "{protocol:?} {sent:?} {read:?} {answer:?} {client:?}")
    }
}

const READS: [Read; 7] =
    [Read::Ignored, Read::Dropped, Read::Piece, Read::All, Read::Held, Read::Woken, Read::Freed];

/// Units: bytes.
pub(super) const SIZES: [usize; 3] = [1, 1 << 10, 200 << 10];
/// Units: bytes.
pub(super) const LARGE: usize = 8 << 20;
/// The answer of a cell whose client stops reading: more than sockets and windows take.
pub(super) const LONG: usize = 8 << 20;

/// The part of the table that these make, as far as it makes sense.
pub(super) fn cells(
    protocols: &[Protocol],
    sizes: &[usize],
    answers: &[Answer],
    clients: &[Client],
) -> Vec<Cell> {
    let sized = sizes.iter().flat_map(|&size| [Sent::Sized(size), Sent::Chunked(size)]);
    let bodies: Vec<Sent> = std::iter::once(Sent::Nothing).chain(sized).collect();
    let mut all = Vec::new();
    for &protocol in protocols {
        for &sent in &bodies {
            for read in READS {
                for &answer in answers {
                    let cell = |client| Cell { protocol, sent, read, answer, client };
                    all.extend(clients.iter().map(|&it| cell(it)).filter(Cell::is_sensible));
                }
            }
        }
    }
    all
}

impl Cell {
    fn is_sensible(&self) -> bool {
        self.can_be_sent() && self.can_be_asked()
    }

    fn can_be_sent(&self) -> bool {
        let http2 = self.protocol == Protocol::Http2;
        let chunked = matches!(self.sent, Sent::Chunked(_));
        let cut = match self.client {
            Client::Resets => http2,
            // There a connection's end says nothing of a stream's.
            Client::EndsEarly => !http2 && self.sent.len() > 1,
            _ => true,
        };
        cut && !(chunked && self.protocol == Protocol::Http10)
    }

    fn can_be_asked(&self) -> bool {
        let bodiless = self.sent == Sent::Nothing;
        let read = match (self.answer, self.read) {
            (Answer::Back, read) => read == Read::Held,
            (Answer::Early | Answer::NoMount | Answer::Vacant | Answer::BadExpect, read) => {
                read == Read::Ignored
            }
            // What says no length is too long only for whoever reads it.
            (Answer::TooLarge, read) if matches!(self.sent, Sent::Chunked(_)) => read == Read::All,
            (Answer::TooLarge, read) => read == Read::Ignored,
            (Answer::Empty | Answer::Error | Answer::Panic, Read::Held) => false,
            (Answer::Upgrade, Read::Woken | Read::Freed) => false,
            _ => true,
        };
        let reads = !bodiless || matches!(self.read, Read::Ignored | Read::All | Read::Held);
        let long = matches!(self.answer, Answer::Bytes | Answer::Known | Answer::Chunked);
        let long = long || self.answer == Answer::Back && self.sent.len() >= LARGE;
        let stops = self.client != Client::StopsReading || long;
        let large = self.answer != Answer::TooLarge || self.sent.len() > BODY_MAX;
        read && reads && stops && large
    }

    /// Path and query.
    pub(super) fn target(&self) -> String {
        let answer = match self.answer {
            Answer::NoMount => return "/nowhere".to_owned(),
            Answer::Vacant => return "/vacant".to_owned(),
            Answer::Bytes | Answer::BadExpect | Answer::TooLarge => "bytes",
            Answer::Known => "known",
            Answer::Chunked => "chunked",
            Answer::Trailers => "trailers",
            Answer::Empty => "empty",
            Answer::Back => "back",
            Answer::Early => "early",
            Answer::Error => "error",
            Answer::Panic => "panic",
            Answer::Upgrade => "upgrade",
            Answer::Timeout => "never",
        };
        let read = match self.read {
            Read::Ignored => "ignored",
            Read::Dropped => "dropped",
            Read::Piece => "piece",
            Read::All => "all",
            Read::Held => match self.answer {
                Answer::Bytes => "held&keep=owner",
                Answer::Upgrade => "held&keep=converse",
                Answer::Back => "held",
                _ => "held&keep=stream",
            },
            Read::Woken => "woken",
            Read::Freed => "freed",
        };
        format!("/edge?answer={answer}&read={read}&size={}", self.size())
    }

    /// Of the answer. Units: bytes.
    fn size(&self) -> usize {
        if self.client == Client::StopsReading { LONG } else { 16 }
    }

    /// The plugin sees the whole body.
    pub(super) fn needs_all(&self) -> bool {
        let own = matches!(self.answer, Answer::Error | Answer::Panic | Answer::Timeout);
        !own && (self.read == Read::All || matches!(self.answer, Answer::Back | Answer::Early))
    }

    /// What must be answered to a request that was sent whole.
    pub(super) fn wanted(&self) -> Wanted {
        let own = |status, code| Wanted { status, code: Some(code), body: Content::Any };
        let good = |body| Wanted { status: 200, code: None, body };
        match self.answer {
            Answer::Bytes | Answer::Known | Answer::Chunked => good(Content::Letters(self.size())),
            Answer::Trailers => good(Content::WithTrailers(self.size())),
            Answer::Empty => good(Content::Letters(0)),
            Answer::Back => good(Content::Same),
            Answer::Early => good(Content::Text(format!("early;{}", self.sent.len()))),
            Answer::Error => own(500, "plugin_error"),
            Answer::Panic => own(500, "plugin_panic"),
            Answer::Upgrade if self.protocol != Protocol::Http1 => {
                own(500, "plugin_invalid_answer")
            }
            Answer::Upgrade if self.read == Read::Held && self.sent != Sent::Nothing => {
                own(500, "plugin_invalid_answer")
            }
            Answer::Upgrade => Wanted { status: 101, code: None, body: Content::Echo },
            Answer::NoMount => own(404, "no_mount"),
            Answer::Vacant => own(503, "no_generation"),
            Answer::BadExpect => own(417, "bad_expectation"),
            Answer::TooLarge => own(413, "body_too_large"),
            Answer::Timeout => own(504, "plugin_timeout"),
        }
    }
}

/// The limit of the hosts whose answers are 413. Units: bytes.
pub(super) const BODY_MAX: usize = 512;

/// An answer as it must be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) status: u16,
    pub(super) code: Option<&'static str>,
    pub(super) body: Content,
}

/// Its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Any,
    Text(String),
    /// So many. Units: bytes.
    Letters(usize),
    WithTrailers(usize),
    /// That of the request.
    Same,
    /// What is said on the connection from now on.
    Echo,
}
