//! A case as data and as text.
//!
//! Owns the format, one step a line:
//! ```text
//! # why it is kept
//! http1
//! send GET /edge?id=1 HTTP/1.1\r\nContent-Length: 1000\r\nHost: a\r\n\r\n\*1000;b
//! answer 1
//! ```
//! Bytes are written as in a Rust literal; `\*1000;b` stands for a thousand times what follows.

use std::fmt::{self, Write as _};

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests and answers in order.
    Http1,
    /// The client greets by itself; `send` is frames.
    Http2,
}

/// One step. Steps are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One write. After a malformed part it may fail.
    Send(Vec<u8>),
    /// The one whole answer of a valid request: its `id`, which over HTTP/2 is its stream.
    Answer(u32),
    /// The answer to HEAD.
    Head(u32),
    /// An answer of the host's own with this status. Over HTTP/2 to the stream that comes second.
    Own(u16, u32),
    /// A stream that may have one answer, or is reset.
    Maybe(u32),
    /// A malformed part has been sent: at most one answer to its own request, at most one of the
    /// host's own, then the end. Nothing behind it is answered.
    Ends,
    /// The client ends its side.
    HalfClose,
    /// The client resets the connection.
    Reset,
    /// The connection goes on: another request is answered.
    GoesOn,
    /// The connection ends, whatever comes before.
    Anyhow,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// How it is held.
    pub protocol: Protocol,
    /// What is done.
    pub steps: Vec<Step>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        };
        writeln!(f, "{protocol}")?;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => writeln!(f, "send {}", escaped(bytes))?,
                Step::Answer(id) => writeln!(f, "answer {id}")?,
                Step::Head(id) => writeln!(f, "head {id}")?,
                Step::Own(status, id) => writeln!(f, "own {status} {id}")?,
                Step::Maybe(id) => writeln!(f, "maybe {id}")?,
                Step::Ends => writeln!(f, "ends")?,
                Step::HalfClose => writeln!(f, "half-close")?,
                Step::Reset => writeln!(f, "reset")?,
                Step::GoesOn => writeln!(f, "goes-on")?,
                Step::Anyhow => writeln!(f, "anyhow")?,
            }
        }
        Ok(())
    }
}

impl Case {
    /// Reads what [`Display`](fmt::Display) writes; lines that begin with `#` are for people.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let protocol = match lines.next() {
            Some("http1") => Protocol::Http1,
            Some("http2") => Protocol::Http2,
            other => return Err(format!("no protocol: {other:?}")),
        };
        let steps = lines.map(|line| step(line).ok_or_else(|| format!("no step: `{line}`")));
        Ok(Self { protocol, steps: steps.collect::<Result<_, _>>()? })
    }
}

fn step(line: &str) -> Option<Step> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = || rest.parse().ok();
    Some(match word {
        "send" => Step::Send(unescaped(rest)?),
        "answer" => Step::Answer(number()?),
        "head" => Step::Head(number()?),
        "own" => {
            let (status, id) = rest.split_once(' ')?;
            Step::Own(status.parse().ok()?, id.parse().ok()?)
        }
        "maybe" => Step::Maybe(number()?),
        "ends" => Step::Ends,
        "half-close" => Step::HalfClose,
        "reset" => Step::Reset,
        "goes-on" => Step::GoesOn,
        "anyhow" => Step::Anyhow,
        _ => return None,
    })
}

/// From here on a run of one byte is written as its length.
const RUN_MIN: usize = 32;

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|one, other| one == other) {
        if run.len() >= RUN_MIN {
            let _ = write!(text, "\\*{};{}", run.len(), run[..1].escape_ascii());
        } else {
            let _ = write!(text, "{}", run.escape_ascii());
        }
    }
    text
}

/// The inverse of [`escaped`].
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let count;
        (count, rest) = match rest.strip_prefix(b"\\*") {
            Some(run) => {
                let end = run.iter().position(|byte| *byte == b';')?;
                (std::str::from_utf8(&run[..end]).ok()?.parse().ok()?, &run[end + 1..])
            }
            None => (1, rest),
        };
        let byte;
        (byte, rest) = one(rest)?;
        bytes.resize(bytes.len() + count, byte);
    }
    Some(bytes)
}

/// The first byte of a literal, and what follows it.
fn one(text: &[u8]) -> Option<(u8, &[u8])> {
    Some(match text {
        [b'\\', b'x', high, low, rest @ ..] => {
            let digits = [*high, *low];
            (u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?, rest)
        }
        [b'\\', b'r', rest @ ..] => (b'\r', rest),
        [b'\\', b'n', rest @ ..] => (b'\n', rest),
        [b'\\', b't', rest @ ..] => (b'\t', rest),
        [b'\\', quoted @ (b'\\' | b'\'' | b'"'), rest @ ..] => (*quoted, rest),
        [b'\\', ..] => return None,
        [byte, rest @ ..] => (*byte, rest),
        [] => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::Case;

    /// Cases of either protocol, mutated ones too, are what their text says.
    #[test]
    fn text_and_case_are_the_same() {
        for seed in 0..200 {
            let case = Case::made_by(seed);
            assert_eq!(Case::parse(&case.to_string()).as_ref(), Ok(&case), "seed {seed}");
            assert_eq!(Case::made_by(seed), case, "a seed makes one case");
        }
        assert!(Case::parse("http1\nwalk").is_err());
    }
}
