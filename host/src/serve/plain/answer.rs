//! Answers, as the bytes of HTTP/1.1.
//!
//! Owns the head of an answer, whose fields go from the plugin right into the output, and what stands
//! between the pieces of a chunked body. Knows nothing of connections and of the pieces themselves.
//! Entry point: [`Written`].
//!
//! # Invariants
//! - What is written for an answer is what hyper writes for the response that `answering` makes of it
//!   (hyper 1.12, `proto/h1/role.rs`), but for the order of names: see [`Written`].
//! - A name is a token and a value has no line break: no plugin can write anything but fields.

use http::{HeaderName, StatusCode};
use http_body::Body;

use crate::{
    plugin::header::{self as fields, Fields, Framing},
    serve::own::Answer,
};

mod date;

/// Units: bytes of a name. Source: `http::HeaderName::from_bytes`.
const NAME_MAX: usize = (1 << 16) - 1;

/// What a byte of a name is written as; 0: it is in no token. Source: RFC 9110, 5.6.2.
const LOWER: [u8; 256] = {
    let tokens = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut table = [0; 256];
    let mut at = 0;
    while at < tokens.len() {
        table[tokens[at] as usize] = tokens[at].to_ascii_lowercase();
        at += 1;
    }
    table
};

/// How a body comes, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Framed {
    /// In so many bytes.
    Length(u64),
    /// Until it ends.
    Chunked,
    /// There is none.
    None,
}

impl Framed {
    /// How the plugin gives a body.
    #[inline]
    pub(in crate::serve) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() {
            return Self::None;
        }
        body.size_hint().exact().map_or(Self::Chunked, Self::Length)
    }
}

/// The head of one answer, at the end of an output.
///
/// # Order of the fields
/// That of the plugin. A `HeaderMap` puts all fields of one name where the first of them stands, and
/// fills the place of one that it removes with its last one. Nobody may rely on the order of
/// different names (RFC 9110, 5.3); that within a name is the same.
#[derive(Debug)]
pub(in crate::serve) struct Written<'a> {
    out: &'a mut Vec<u8>,
    /// Where its fields begin.
    fields: usize,
    status: StatusCode,
    /// It answers a HEAD.
    to_head: bool,
    /// The plugin's `content-length`, which is not written.
    length: Result<Option<Said>, String>,
    has_date: bool,
    has_upgrade: bool,
    has_type: bool,
    has_events: bool,
    /// `content-length` is written: it says what is not sent.
    is_described: bool,
}

/// A `content-length`: two of them with the same members have the same digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    len: u64,
    digits: usize,
}

impl<'a> Written<'a> {
    /// Goes on at the end of `out`; nothing is written yet.
    #[inline]
    pub(in crate::serve) fn new(out: &'a mut Vec<u8>, to_head: bool) -> Self {
        Self {
            fields: out.len(),
            out,
            status: StatusCode::OK,
            to_head,
            length: Ok(None),
            has_date: false,
            has_upgrade: false,
            has_type: false,
            has_events: false,
            is_described: false,
        }
    }

    /// Writes what is the host's to say, and the end of the head. `last`: the connection ends behind
    /// the answer. Returns what goes out of the body; [`Framed::None`]: nothing, even where the plugin
    /// has one.
    #[inline]
    pub(in crate::serve) fn finish(self, body: Framed, last: bool) -> Framed {
        debug_assert!(
            !self.status.is_informational(),
            "hyper answers 101, for what comes after it"
        );
        let (sent, len) = self.framed(body);
        let Self { out, status, to_head, .. } = self;
        // Where an answer says a length by itself, hyper finds it among the fields of the plugin.
        let resets = status == StatusCode::RESET_CONTENT && to_head;
        if resets {
            put_length(out, 0);
        }
        if last {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.has_upgrade {
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
        match len {
            Framed::Length(len) if !resets => put_length(out, len),
            Framed::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framed::Length(_) | Framed::None => {}
        }
        if !self.has_date {
            out.extend_from_slice(b"date: ");
            date::put(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        sent
    }

    /// What is sent of a body, and what is still to be said of it. Source: RFC 9110, 6.4.1 and 8.6.
    #[inline]
    fn framed(&self, body: Framed) -> (Framed, Framed) {
        match self.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => (Framed::None, Framed::None),
            StatusCode::RESET_CONTENT => (Framed::None, Framed::Length(0)),
            _ if self.is_described => (Framed::None, Framed::None),
            _ if self.to_head => match body {
                // There may be one for a GET.
                Framed::None | Framed::Length(0) | Framed::Chunked => (Framed::None, Framed::None),
                Framed::Length(_) => (Framed::None, body),
            },
            _ => match body {
                Framed::None | Framed::Length(0) => (Framed::None, Framed::Length(0)),
                Framed::Length(_) | Framed::Chunked => (body, body),
            },
        }
    }

    /// Whether the answer may be chunked, and so announce trailers.
    fn may_be_chunked(&self) -> bool {
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !self.to_head && !bodiless
    }

    /// Notes a `content-length`.
    fn hear_length(&mut self, value: &[u8]) {
        let said = fields::parse_length(value).map(|len| Said { len, digits: value.len() });
        match (&self.length, said) {
            (Ok(None), Some(said)) => self.length = Ok(Some(said)),
            (Ok(None), None) => self.length = Err(fields::wrong_length(value)),
            (Ok(first), said) if *first != said => self.length = Err(fields::two_lengths()),
            _ => {}
        }
    }

    /// A field of this name was taken out again.
    fn forget(&mut self, name: &[u8]) {
        match name {
            b"date" => self.has_date = false,
            b"content-type" => self.has_events = false,
            _ => {}
        }
    }
}

impl Fields for Written<'_> {
    #[inline]
    fn begin(&mut self, status: StatusCode) {
        self.status = status;
        if status == StatusCode::OK {
            self.out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            self.out.extend_from_slice(b"HTTP/1.1 ");
            self.out.extend_from_slice(status.as_str().as_bytes());
            self.out.push(b' ');
            // As hyper has it: many clients take none for a mistake.
            let reason = status.canonical_reason().unwrap_or("<none>");
            self.out.extend_from_slice(reason.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        self.fields = self.out.len();
    }

    #[inline]
    fn append(&mut self, name: &[u8], value: &[u8], framing: Framing) -> Result<(), String> {
        let at = self.out.len();
        self.out.reserve(name.len() + value.len() + 4);
        if !put_name(self.out, name) {
            self.out.truncate(at);
            return Err(fields::wrong_name(name));
        }
        let lower = &self.out[at..];
        if framing.drops(lower) {
            self.out.truncate(at);
            return Ok(());
        }
        if !is_value(value) {
            let wrong = fields::wrong_value(lower);
            self.out.truncate(at);
            return Err(wrong);
        }
        match lower {
            b"date" => self.has_date = true,
            b"upgrade" => self.has_upgrade = true,
            b"content-type" if !self.has_type => {
                self.has_type = true;
                self.has_events = fields::is_events(value);
            }
            b"content-length" => {
                self.out.truncate(at);
                self.hear_length(value);
                return Ok(());
            }
            b"trailer" if !self.may_be_chunked() => {
                self.out.truncate(at);
                return Ok(());
            }
            _ => {}
        }
        put_value(self.out, value);
        Ok(())
    }

    #[cold]
    fn leave_out(&mut self, names: &[HeaderName]) {
        let written = self.out.split_off(self.fields);
        // No field has a line break in it.
        for line in written.split_inclusive(|c| *c == b'\n') {
            let name = line.split(|c| *c == b':').next().unwrap_or_default();
            if names.iter().any(|it| it.as_str().as_bytes() == name) {
                self.forget(name);
            } else {
                self.out.extend_from_slice(line);
            }
        }
    }

    #[inline]
    fn take_length(&mut self) -> Result<Option<u64>, String> {
        let said = std::mem::replace(&mut self.length, Ok(None))?;
        Ok(said.map(|said| said.len))
    }

    fn describe(&mut self, len: u64) {
        put_length(self.out, len);
        self.is_described = true;
    }

    #[inline]
    fn are_events(&self) -> bool {
        self.has_events
    }
}

/// Writes an answer of the host's own, head and body.
pub(in crate::serve) fn put_own(out: &mut Vec<u8>, answer: &Answer, to_head: bool, last: bool) {
    let mut written = Written::new(out, to_head);
    written.begin(answer.status());
    for (name, value) in answer.headers() {
        let put = written.append(name.as_ref(), value.as_bytes(), Framing::Open);
        debug_assert_eq!(put, Ok(()), "it was a field before");
    }
    let body = Framed::Length(answer.body().len() as u64);
    if written.finish(body, last) != Framed::None {
        out.extend_from_slice(answer.body());
    }
}

/// Begins a chunk. Units: `len` in bytes; 0 would end the body.
#[inline]
pub(in crate::serve) fn chunk_head(out: &mut Vec<u8>, len: u64) {
    debug_assert!(len > 0, "an empty piece is no chunk");
    put_number::<16>(out, len);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunk.
#[inline]
pub(in crate::serve) fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body. Trailers are for clients that have said `te: trailers`, which are hyper's.
pub(in crate::serve) fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// Writes a name in lower case. False: it is none, and what is written goes again.
#[inline]
fn put_name(out: &mut Vec<u8>, name: &[u8]) -> bool {
    if name.is_empty() || name.len() > NAME_MAX {
        return false;
    }
    let mut bad = false;
    out.extend(name.iter().map(|c| {
        let lower = LOWER[usize::from(*c)];
        bad |= lower == 0;
        lower
    }));
    !bad
}

/// Writes what comes behind a name.
#[inline]
fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Source: RFC 9110, 5.5, and as lenient as `http::HeaderValue::from_bytes`.
#[inline]
fn is_value(value: &[u8]) -> bool {
    // Without an early end the loop is vectorised.
    value.iter().fold(true, |good, c| good & ((*c >= b' ' || *c == b'\t') & (*c != 0x7f)))
}

#[inline]
fn put_length(out: &mut Vec<u8>, len: u64) {
    out.extend_from_slice(b"content-length: ");
    put_number::<10>(out, len);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number to a base of 16 at most.
#[inline]
fn put_number<const BASE: u64>(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b"0123456789ABCDEF"[usize::try_from(number % BASE).unwrap_or_default()];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests;
