//! One exchange on a connection of its own, and the answer that comes of it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{Error, Result};

/// An answer, whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of the field `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text; what is none is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> Result<Value> {
        let wrong = |error| Error::new(format!("{error} in `{}` ({})", self.text(), self.status));
        serde_json::from_slice(&self.body).map_err(wrong)
    }
}

/// Sends `bytes`, a whole request, and reads what comes up to the end of the connection.
pub(crate) fn exchange(
    address: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// An answer that the end of its connection follows.
pub(crate) fn parse(bytes: &[u8], is_head: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    // What is told before the answer.
    if (100..200).contains(&status) && status != 101 {
        return parse(rest, is_head);
    }
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let mut answer = Answer { status, headers: lines.filter_map(pair).collect(), body: Vec::new() };
    if is_head {
        return Some(answer);
    }
    answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
        (Some(_), _) => chunks(rest)?,
        (None, Some(length)) => rest.get(..length.parse().ok()?)?.to_vec(),
        (None, None) => rest.to_vec(),
    };
    Some(answer)
}

/// The body of `transfer-encoding: chunked`, without its trailers.
fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_are_read() {
        let answer =
            parse(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 2\r\n\r\nhi", false).unwrap();
        assert_eq!(
            (answer.status, answer.header("a"), answer.text()),
            (200, Some("b"), "hi".into())
        );
        let chunked =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 X\r\ntransfer-encoding: chunked\r\n\r\n\
                        2;x\r\nhi\r\n3\r\n ho\r\n0\r\nt: u\r\n\r\n";
        let answer = parse(chunked, false).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (201, "hi ho"));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi";
        assert!(parse(cut, false).is_none());
        assert!(parse(cut, true).is_some());
    }
}
