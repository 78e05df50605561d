//! HTTP/2 frame by frame: what no proper client would send, and what a proper one does not show.
//!
//! Owns one connection with its windows and what has come on each stream. Sends nothing unasked
//! but acknowledgements, and windows as long as [`RawHttp2::grants`] says so. Never asks twice.
//! Source: RFC 9113.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

pub use super::frame::{Frame, code, flag, kind};
use super::hpack::{self, Field, Table};
use crate::{
    client::{Answer, Connection},
    patience::patience,
};

mod take;

/// The setting of a stream's first window.
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// Before anybody says otherwise. Units: bytes.
const WINDOW: i64 = 65_535;
/// Units: bytes. Every peer takes frames of this size.
const FRAME: usize = 16_384;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What has come on one stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// With what has come of the body.
    pub answer: Option<Answer>,
    /// Those of the body.
    pub trailers: Vec<Field>,
    /// The answer is there whole.
    pub ended: bool,
    /// How many answers have begun: never more than one.
    pub heads: usize,
    /// The peer has reset it, for this reason.
    pub reset: Option<u32>,
    window: i64,
}

impl Stream {
    /// Nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// The peer's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// The last stream that it may answer.
    pub last: u32,
    /// See [`code`].
    pub code: u32,
}

/// One connection.
#[derive(Debug)]
pub struct RawHttp2 {
    connection: Connection,
    table: Table,
    streams: BTreeMap<u32, Stream>,
    window: i64,
    initial: i64,
    next: u32,
    block: Vec<u8>,
    pongs: u64,
    /// The peer's last word so far.
    pub goaway: Option<Goaway>,
    /// Whether what was read is given back to the peer's windows.
    pub grants: bool,
}

impl RawHttp2 {
    /// Connects and greets with these settings.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut connection = Connection::open(address)?;
        connection.send([PREFACE, &Frame::bytes(kind::SETTINGS, 0, 0, &payload)].concat())?;
        Ok(Self {
            connection,
            table: Table::default(),
            streams: BTreeMap::new(),
            window: WINDOW,
            initial: WINDOW,
            next: 1,
            block: Vec::new(),
            pongs: 0,
            goaway: None,
            grants: true,
        })
    }

    /// The connection below.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection below, for what is to be done to it alone.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// One frame.
    ///
    /// # Errors
    /// As the system says.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.connection.send(Frame::bytes(kind, flags, stream, payload))
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// As the system says.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.send(bytes)
    }

    /// The next free number of a stream, which is watched from now on.
    pub fn stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        let fresh = Stream {
            answer: None,
            trailers: Vec::new(),
            ended: false,
            heads: 0,
            reset: None,
            window: self.initial,
        };
        self.streams.insert(stream, fresh);
        stream
    }

    /// Begins a request on a stream of its own.
    ///
    /// # Errors
    /// As the system says.
    pub fn begin(
        &mut self,
        method: &str,
        path: &str,
        extra: &[(&str, &str)],
        ends: bool,
    ) -> io::Result<u32> {
        let stream = self.stream();
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        self.send(kind::HEADERS, flags, stream, &head(method, path, extra))?;
        Ok(stream)
    }

    /// Begins a POST with the first piece of its body, as far as the first windows go, in one write:
    /// however soon its answer is there, the piece was sent before it.
    ///
    /// # Errors
    /// As the system says.
    pub fn post(&mut self, path: &str, piece: &[u8], ends: bool) -> io::Result<u32> {
        let stream = self.stream();
        let block = head("POST", path, &[]);
        let mut bytes = Frame::bytes(kind::HEADERS, flag::END_HEADERS, stream, &block);
        let mut frames = piece.chunks(FRAME).peekable();
        while let Some(frame) = frames.next() {
            let is_last = ends && frames.peek().is_none();
            let flags = if is_last { flag::END_STREAM } else { 0 };
            bytes.extend(Frame::bytes(kind::DATA, flags, stream, frame));
        }
        self.connection.send(bytes)?;
        self.spend(stream, piece.len());
        Ok(stream)
    }

    /// Whole GET on a stream of its own.
    ///
    /// # Errors
    /// As the system says, or what was read is no answer.
    pub fn get(&mut self, path: &str) -> io::Result<Stream> {
        let stream = self.begin("GET", path, &[], true)?;
        self.finish(stream)
    }

    /// Sends a body as windows allow; `false` when the peer wants no more of it, which it does as
    /// soon as its answer is there: whoever needs a piece to be sent before begins with
    /// [`Self::post`].
    ///
    /// # Errors
    /// As the system says, or the peer closed.
    pub fn body(&mut self, stream: u32, mut bytes: &[u8], ends: bool) -> io::Result<bool> {
        let end = Instant::now() + patience();
        loop {
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            while !self.connection.buffered().is_empty()
                || self.connection.wait_readable(Duration::ZERO)?
            {
                self.step()?;
            }
            if self.at(stream).is_over() {
                return Ok(false);
            }
            let room = self.window.min(self.at(stream).window);
            let room = usize::try_from(room).unwrap_or(0).min(FRAME);
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            if piece.is_empty() && !bytes.is_empty() {
                self.step()?;
                continue;
            }
            let last = rest.is_empty() && ends;
            let flags = if last { flag::END_STREAM } else { 0 };
            if last || !piece.is_empty() {
                self.send(kind::DATA, flags, stream, piece)?;
            }
            self.spend(stream, piece.len());
            if rest.is_empty() {
                return Ok(true);
            }
            bytes = rest;
        }
    }

    fn spend(&mut self, stream: u32, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.window -= bytes;
        if let Some(it) = self.streams.get_mut(&stream) {
            it.window -= bytes;
        }
    }

    /// The trailers, with which a request ends.
    ///
    /// # Errors
    /// As the system says.
    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> io::Result<()> {
        let flags = flag::END_HEADERS | flag::END_STREAM;
        self.send(kind::HEADERS, flags, stream, &hpack::encode(fields))
    }

    /// Resets a stream.
    ///
    /// # Errors
    /// As the system says.
    pub fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.send(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Adds to the window of a stream, or of the connection (0).
    ///
    /// # Errors
    /// As the system says.
    pub fn grant(&mut self, stream: u32, bytes: u32) -> io::Result<()> {
        self.send(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
    }

    /// What has come on a stream.
    ///
    /// # Panics
    /// When it was never begun.
    #[must_use]
    #[track_caller]
    pub fn at(&self, stream: u32) -> &Stream {
        self.streams.get(&stream).expect("a stream that was begun")
    }

    /// What may be sent now on a stream, and on all together. Units: bytes.
    #[must_use]
    pub fn windows(&self, stream: u32) -> (i64, i64) {
        (self.at(stream).window, self.window)
    }

    /// Reads until the stream is over.
    ///
    /// # Errors
    /// As the system says, or what was read is no answer; `TimedOut` when patience runs out.
    pub fn finish(&mut self, stream: u32) -> io::Result<Stream> {
        self.until(|it| it.at(stream).is_over())?;
        Ok(self.at(stream).clone())
    }

    /// Reads until something of an answer's body has come, or the stream is over.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn first_piece(&mut self, stream: u32) -> io::Result<()> {
        let begun = |it: &Stream| it.answer.as_ref().is_some_and(|it| !it.body.is_empty());
        self.until(|it| begun(it.at(stream)) || it.at(stream).is_over())
    }

    /// Pings of the peer are signs of life too: without a limit of its own a read could go on for
    /// ever.
    fn until(&mut self, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let end = Instant::now() + patience();
        while !done(self) {
            self.step()?;
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Reads until the peer has closed: whether it did so in good order.
    ///
    /// # Errors
    /// As the system says; the peer stays.
    pub fn wait_closed(&mut self) -> io::Result<()> {
        let end = Instant::now() + patience();
        loop {
            match self.step() {
                Ok(_) if Instant::now() > end => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                // Something was acknowledged that nobody wanted to hear any more.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a sign of life and reads until it comes: everything sent before was looked at.
    ///
    /// # Errors
    /// As the system says, or the peer closed.
    pub fn ping(&mut self) -> io::Result<()> {
        self.send(kind::PING, 0, 0, b"are you?")?;
        let pongs = self.pongs;
        self.until(|it| it.pongs > pongs)
    }

    /// Reads one frame and does what it asks for.
    ///
    /// # Errors
    /// As the system says; `UnexpectedEof` when the peer has closed.
    pub fn step(&mut self) -> io::Result<Frame> {
        let head = self.connection.read_exact(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.connection.read_exact(usize::try_from(length).unwrap_or(0))?;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        self.take(&frame)?;
        Ok(frame)
    }
}

/// The block of a request's head.
#[must_use]
pub fn head(method: &str, path: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "http"), (":authority", "localhost")];
    let mut fields = own.to_vec();
    fields.push((":path", path));
    fields.extend(extra);
    hpack::encode(&fields)
}
