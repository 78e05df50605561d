//! The server that is asked: one that the test plays, and one that answers by itself.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use hotseat_test_support::{Connection, patience};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A listener whose connections the test takes one by one.
pub(super) struct Origin {
    listener: TcpListener,
}

impl Origin {
    pub(super) fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The next connection.
    #[track_caller]
    pub(super) fn accept(&self) -> Connection {
        let time = Timespec::try_from(patience()).unwrap();
        let mut set = [PollFd::new(&self.listener, PollFlags::IN)];
        assert!(poll(&mut set, Some(&time)).unwrap() > 0, "nobody asks the upstream");
        Connection::adopt(self.listener.accept().unwrap().0).unwrap()
    }

    /// The next request on a connection of its own, whose body is still to be read.
    #[track_caller]
    pub(super) fn asked(&self) -> Asked {
        Asked::read(self.accept()).unwrap()
    }
}

/// A request that waits for its answer.
pub(super) struct Asked {
    pub(super) connection: Connection,
    /// `GET /x HTTP/1.1`
    pub(super) line: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
}

impl Asked {
    fn read(mut connection: Connection) -> io::Result<Self> {
        let line = connection.read_line()?;
        let mut headers = Vec::new();
        loop {
            let line = connection.read_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self { connection, line, headers })
    }

    /// All values of a field.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(it, _)| it == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// Answers, and closes: the next request comes on another connection.
    #[track_caller]
    pub(super) fn answer(mut self, status: &str, text: &str) {
        let length = text.len();
        let head =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n");
        self.connection.send(format!("{head}\r\n{text}")).unwrap();
    }
}

/// A server that answers every request with the same text, on connections that it keeps.
pub(super) struct Always {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Always {
    pub(super) fn new(text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if told.load(Relaxed) {
                    return;
                }
                // It ends with its connection.
                std::thread::spawn(move || serve(stream, text));
            }
        });
        Self { address, ended, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Always {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(stream: TcpStream, text: &str) -> io::Result<()> {
    let mut connection = Connection::adopt(stream)?;
    loop {
        let mut asked = Asked::read(connection)?;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
        asked.connection.send(head + text)?;
        connection = asked.connection;
    }
}
