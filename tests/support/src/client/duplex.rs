//! Sending and reading at once, and waiting for the end of a connection.
//!
//! Owns the thread beside a large body: a server that answers while it reads would else wait for
//! a client that reads only when it has sent.

use std::{io, io::Write as _, net::TcpStream, thread, time::Duration};

use super::Connection;

impl Connection {
    /// The write side, for another thread.
    ///
    /// # Errors
    /// As the system says.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Sends `pieces` on a thread beside `read`. What sending met, and what `read` gave.
    ///
    /// # Errors
    /// When there is no second handle.
    ///
    /// # Panics
    /// When the thread beside panicked.
    pub fn send_beside<'a, I, T>(
        &mut self,
        pieces: I,
        read: impl FnOnce(&mut Self) -> T,
    ) -> io::Result<(io::Result<()>, T)>
    where
        I: IntoIterator<Item = &'a [u8]> + Send,
    {
        let mut writer = self.writer()?;
        Ok(thread::scope(|scope| {
            let send = move || pieces.into_iter().try_for_each(|piece| writer.write_all(piece));
            let sending = scope.spawn(send);
            let came = read(self);
            (sending.join().expect("sending does not panic"), came)
        }))
    }

    /// Bounds reads and writes by `time` instead of by patience.
    ///
    /// # Errors
    /// As the system says.
    pub fn bound(&self, time: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(time))?;
        self.stream.set_write_timeout(Some(time))
    }

    /// The trailers of the chunked body that was read last, line by line.
    #[must_use]
    pub fn trailers(&self) -> &[String] {
        &self.trailers
    }

    /// What has come and was not read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Waits for a close in good order, with nothing before it.
    ///
    /// # Errors
    /// When something comes, the connection is reset, or it stays.
    pub fn wait_end(&mut self) -> io::Result<()> {
        let rest = self.read_to_end()?;
        if rest.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&rest[..rest.len().min(200)]).into_owned();
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{text}` instead of the end")))
    }
}
