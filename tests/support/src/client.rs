//! A blocking HTTP/1.1 client on bare sockets that counts every failure.
//!
//! Owns requests byte by byte, so that tests can send what no proper client would. Must not
//! retry: a failure that is hidden here is a failure that users meet.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::patience::patience;

mod answer;
mod duplex;
pub use answer::Answer;

/// One connection and what was read too far.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    received: u64,
    trailers: Vec<String>,
}

impl Connection {
    /// Connects; reads and writes are bounded by patience.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::adopt(TcpStream::connect_timeout(&address, patience())?)
    }

    /// One that is there already; reads and writes are bounded by patience.
    ///
    /// # Errors
    /// As the system says.
    pub fn adopt(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), received: 0, trailers: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// As the system says.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// As the system says.
    pub fn send_request(&mut self, method: &str, target: &str, extra: &str) -> io::Result<()> {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n"))
    }

    /// GET on this connection.
    ///
    /// # Errors
    /// As the system says, or what was read is no answer.
    pub fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.send_request("GET", target, "")?;
        self.read_answer()
    }

    /// Ends the write side; answers can still be read.
    ///
    /// # Errors
    /// As the system says.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Goes away with a reset, as a client that was killed does. A plain close only ends the write
    /// side as far as the server can see, and half-closed clients still want their answers.
    ///
    /// # Errors
    /// As the system says.
    pub fn reset(self) -> io::Result<()> {
        let at_once = Some(Duration::ZERO);
        Ok(rustix::net::sockopt::set_socket_linger(&self.stream, at_once)?)
    }

    /// Bytes that have come so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Waits until something comes, be it the peer's close; `false` when `time` has passed.
    ///
    /// # Errors
    /// As the system says.
    pub fn wait_readable(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        let mut set = [PollFd::new(&self.stream, PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut set, Some(&time)))? > 0)
    }

    /// Reads once. 0: the peer has closed.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 << 10];
        let count = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..count]);
        self.received += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn fill_more(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed")),
            _ => Ok(()),
        }
    }

    /// Reads exactly `count` bytes, whatever they are.
    ///
    /// # Errors
    /// As the system says; `UnexpectedEof` when the peer closed before.
    pub fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill_more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Reads up to and with `\n`, and returns the line without its end.
    ///
    /// # Errors
    /// As [`Self::read_exact`].
    pub fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill_more()?;
        }
    }

    /// Everything until the peer closes.
    ///
    /// # Errors
    /// As the system says.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Waits until the peer closes (or resets); what comes before is dropped.
    ///
    /// # Errors
    /// When it does not close within patience.
    pub fn wait_closed(&mut self) -> io::Result<()> {
        match self.read_to_end() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The address that the server sees.
    ///
    /// # Errors
    /// As the system says.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Status line and headers; the body is still to be read. Interim answers are skipped,
    /// except 101.
    ///
    /// # Errors
    /// As the system says, or `InvalidData`.
    pub fn read_head(&mut self) -> io::Result<Answer> {
        loop {
            let mut lines = vec![self.read_line()?];
            loop {
                let line = self.read_line()?;
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            let head = Answer::parse(&lines)?;
            if head.status == 101 || head.status >= 200 {
                return Ok(head);
            }
        }
    }

    /// One chunk of a chunked body; empty: it was the last, and the trailers are read.
    ///
    /// # Errors
    /// As the system says, or `InvalidData`.
    pub fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.read_line()?;
        let digits = line.split(';').next().unwrap_or_default();
        let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk `{line}`"));
        let count = usize::from_str_radix(digits.trim(), 16).map_err(wrong)?;
        if count == 0 {
            self.trailers.clear();
            loop {
                let line = self.read_line()?;
                if line.is_empty() {
                    return Ok(Vec::new());
                }
                self.trailers.push(line);
            }
        }
        let chunk = self.read_exact(count)?;
        self.read_line()?;
        Ok(chunk)
    }

    /// The body that belongs to `head`.
    ///
    /// # Errors
    /// As the system says, or `InvalidData`.
    pub fn read_body(&mut self, head: &Answer) -> io::Result<Vec<u8>> {
        if matches!(head.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head.header("transfer-encoding").is_some_and(|it| it.contains("chunked")) {
            let mut body = Vec::new();
            loop {
                let chunk = self.read_chunk()?;
                if chunk.is_empty() {
                    return Ok(body);
                }
                body.extend(chunk);
            }
        }
        match head.header("content-length").map(str::parse) {
            Some(Ok(count)) => self.read_exact(count),
            Some(Err(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, "content-length")),
            None => self.read_to_end(),
        }
    }

    /// The next whole answer.
    ///
    /// # Errors
    /// As the system says, or `InvalidData`.
    pub fn read_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.read_head()?;
        answer.body = self.read_body(&answer)?;
        Ok(answer)
    }
}

/// Counts what went wrong between all clients of one host.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<AtomicU64>);

impl Failures {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A keep-alive client. A connection error or a status of 500 and more counts as a failure.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
    failures: Failures,
}

impl Client {
    /// Talks to `address`, counts in `failures`.
    #[must_use]
    pub fn new(address: SocketAddr, failures: Failures) -> Self {
        Self { address, connection: None, failures }
    }

    fn attempt(&mut self, target: &str) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        let answer = connection.get(target)?;
        let closes = answer.header("connection").is_some_and(|it| it.contains("close"));
        self.connection = (!closes).then_some(connection);
        Ok(answer)
    }

    /// GET; the connection is kept.
    ///
    /// # Errors
    /// As the system says. It was counted.
    pub fn get(&mut self, target: &str) -> io::Result<Answer> {
        let answer = self.attempt(target);
        if answer.as_ref().map_or(true, |answer| answer.status >= 500) {
            self.failures.add();
        }
        answer
    }
}
