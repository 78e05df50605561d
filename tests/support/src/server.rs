//! A tiny HTTP/1 server that does what servers must not do.
//!
//! Owns the negative controls: where a client of ours finds no fault with a good host, it must
//! find those that this server has. Must not be good at anything else.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{client::Connection, transfer::hex_sum};

/// What it does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers every request.
    Good,
    /// Says `Connection: close` with every third answer, and closes.
    Announces,
    /// Closes after the second answer without a word.
    ClosesIdle,
    /// Resets the connection instead of the third answer.
    Resets,
    /// Ends the third answer in the middle of its body.
    Truncates,
    /// Answers the third request with 500.
    Fails,
    /// Tells of the third body that it was another.
    Mistakes,
    /// Answers everything with 404, as a lame duck answers health checks.
    Lame,
}

/// A listener with its thread. Each connection has one of its own that ends with it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    quit: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// A listening socket on loopback that shares its port with others like it (`SO_REUSEPORT`).
///
/// # Errors
/// As the system says.
pub fn reuseport(port: u16) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    rustix::net::listen(&socket, 1024)?;
    Ok(TcpListener::from(socket))
}

impl Server {
    /// A server on a free port.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("bind"), manner)
    }

    /// A server on this socket, which must not be used by others.
    ///
    /// # Panics
    /// When it cannot be served.
    #[must_use]
    pub fn on(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().expect("the address of a listener");
        listener.set_nonblocking(true).expect("make the listener non-blocking");
        let (quit, told) = UnixStream::pair().expect("a pair of sockets");
        let manner = Arc::new(Mutex::new(manner));
        let shared = Arc::clone(&manner);
        let thread = std::thread::spawn(move || accept(&listener, &told, &shared));
        Self { address, manner, quit, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does otherwise from the next request on.
    pub fn change(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// Closes the listener as plainly as can be; connections that were accepted live on.
    ///
    /// # Panics
    /// When its thread panicked.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let _ = (&self.quit).write_all(b"q");
        thread.join().expect("the accepting thread panicked");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &TcpListener, told: &UnixStream, manner: &Arc<Mutex<Manner>>) {
    loop {
        let mut set = [PollFd::new(told, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut set, None));
        if polled.is_err() || !set[0].revents().is_empty() {
            return;
        }
        if let Ok((stream, _)) = listener.accept() {
            let manner = Arc::clone(manner);
            std::thread::spawn(move || {
                // A client that goes away is no news here.
                let _ = serve(stream, &manner);
            });
        }
    }
}

fn serve(stream: TcpStream, manner: &Mutex<Manner>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut connection = Connection::adopt(stream)?;
    for number in 1_u64.. {
        let length = read_head(&mut connection)?;
        let body = connection.read_exact(length)?;
        let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
        let third = number % 3 == 0;
        let sum = hex_sum(if third && manner == Manner::Mistakes { b"?" } else { &body });
        let mark =
            format!("x-pid: {}\r\nx-length: {length}\r\nx-sum: {sum}\r\n", std::process::id());
        let status = match manner {
            Manner::Lame => "404 Lame",
            Manner::Fails if third => "500 No",
            _ => "200 OK",
        };
        let close = if third && manner == Manner::Announces { "connection: close\r\n" } else { "" };
        let promised = if third && manner == Manner::Truncates { 20 } else { 2 };
        let head =
            format!("HTTP/1.1 {status}\r\n{mark}{close}content-length: {promised}\r\n\r\nok");
        if third && manner == Manner::Resets {
            return connection.reset();
        }
        connection.send(head)?;
        if third && matches!(manner, Manner::Announces | Manner::Truncates) {
            return Ok(());
        }
        if number == 2 && manner == Manner::ClosesIdle {
            // Long enough that the close comes while the client thinks.
            connection.wait_readable(Duration::from_millis(1))?;
            return Ok(());
        }
    }
    Ok(())
}

/// Up to the empty line: the length of the body that follows.
fn read_head(connection: &mut Connection) -> io::Result<usize> {
    let mut length = 0;
    loop {
        let line = connection.read_line()?.to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().map_err(io::Error::other)?;
        } else if line.is_empty() {
            return Ok(length);
        }
    }
}
