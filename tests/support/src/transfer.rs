//! Large bodies that are checked by their sums, sent and read bit by bit.
//!
//! Owns the pattern that the `whoami` test plugin knows too: blocks that begin with their number,
//! so that a block that is lost, doubled or out of place changes the sum.

use std::{fmt::Write as _, io, net::SocketAddr};

use sha2::{Digest as _, Sha256};

use crate::client::{Answer, Connection};

/// Units: bytes.
const BLOCK: usize = 64 << 10;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 in hex.
#[must_use]
pub fn hex_sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The pattern's `count` first bytes, block by block.
fn blocks(count: u64) -> impl Iterator<Item = Vec<u8>> {
    let step = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    (0..count.div_ceil(step)).map(move |number| {
        let mut block = vec![b'p'; BLOCK];
        block[..8].copy_from_slice(&number.to_le_bytes());
        block.truncate(usize::try_from(count - number * step).unwrap_or(BLOCK).min(BLOCK));
        block
    })
}

/// The sum of the pattern's `count` first bytes.
#[must_use]
pub fn pattern_sum(count: u64) -> String {
    let mut hash = Sha256::new();
    blocks(count).for_each(|block| hash.update(&block));
    hex(&hash.finalize())
}

/// A POST whose body goes out as slowly as the test wants.
pub struct Upload {
    connection: Connection,
    blocks: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    hash: Sha256,
    total: u64,
    sent: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("total", &self.total)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// Sends the head; `total` bytes will follow.
    ///
    /// # Errors
    /// As the system says.
    pub fn begin(address: SocketAddr, target: &str, total: u64) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        connection.send_request("POST", target, &format!("Content-Length: {total}\r\n"))?;
        let blocks = Box::new(blocks(total));
        Ok(Self { connection, blocks, hash: Sha256::new(), total, sent: 0 })
    }

    /// Sends until at least `count` bytes of the body are out.
    ///
    /// # Errors
    /// As the system says.
    pub fn send_up_to(&mut self, count: u64) -> io::Result<()> {
        while self.sent < count {
            let Some(block) = self.blocks.next() else { break };
            self.hash.update(&block);
            self.connection.send(&block)?;
            self.sent += u64::try_from(block.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Sends the rest: the answer, which must tell (`x-length`, `x-sum`) what was sent.
    ///
    /// # Errors
    /// As the system says, or `InvalidData` when something else came there.
    pub fn finish(mut self) -> io::Result<Answer> {
        self.send_up_to(self.total)?;
        let answer = self.connection.read_answer()?;
        let sum = hex(&self.hash.finalize());
        let total = self.total.to_string();
        let came = (answer.header("x-length"), answer.header("x-sum"));
        if answer.status == 200 && came == (Some(&total), Some(&sum)) {
            return Ok(answer);
        }
        let text = format!("{total} bytes with the sum {sum} came as {came:?}: {answer:?}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// A GET whose chunked answer is read as slowly as the test wants.
pub struct Download {
    connection: Connection,
    /// Status and headers.
    pub head: Answer,
    hash: Sha256,
    got: u64,
    ended: bool,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("got", &self.got).finish_non_exhaustive()
    }
}

impl Download {
    /// Asks, and reads the head of the answer.
    ///
    /// # Errors
    /// As the system says.
    pub fn begin(address: SocketAddr, target: &str) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        connection.send_request("GET", target, "")?;
        let head = connection.read_head()?;
        Ok(Self { connection, head, hash: Sha256::new(), got: 0, ended: false })
    }

    /// Reads until at least `count` bytes of the body are there, or its proper end.
    ///
    /// # Errors
    /// As the system says.
    pub fn read_up_to(&mut self, count: u64) -> io::Result<u64> {
        while self.got < count && !self.ended {
            let chunk = self.connection.read_chunk()?;
            self.ended = chunk.is_empty();
            self.hash.update(&chunk);
            self.got += u64::try_from(chunk.len()).unwrap_or(0);
        }
        Ok(self.got)
    }

    /// Reads the rest up to its proper end: how many bytes, and their sum.
    ///
    /// # Errors
    /// As the system says.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        self.read_up_to(u64::MAX)?;
        Ok((self.got, hex(&self.hash.finalize())))
    }
}
