//! Clients of what does not end by itself: WebSockets and server-sent events.
//!
//! Owns reading them one by one, and a WebSocket client that comes back whenever it is closed.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use crate::{client::Connection, patience::patience};

/// One WebSocket; reads and writes are bounded by patience.
#[derive(Debug)]
pub struct Socket {
    socket: tungstenite::WebSocket<TcpStream>,
}

/// What came, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A message of text, or of bytes that are text.
    Text(String),
    /// The peer's close frame; the handshake of the close is done.
    Close(u16),
    /// The connection ended without one.
    Broken(String),
}

impl Socket {
    /// Connects and asks for `target`.
    ///
    /// # Errors
    /// As the system says, or what the server says instead of 101.
    pub fn open(address: SocketAddr, target: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience())?;
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        stream.set_nodelay(true)?;
        let client = tungstenite::client(format!("ws://localhost{target}"), stream);
        let (socket, _) = client.map_err(io::Error::other)?;
        Ok(Self { socket })
    }

    /// Sends text.
    ///
    /// # Errors
    /// As the connection says.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.socket.send(Message::text(text)).map_err(io::Error::other)
    }

    /// What comes next. A close is answered and waited out.
    pub fn receive(&mut self) -> Came {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                    // Sends our own frame; then the server closes.
                    while self.socket.read().is_ok() {}
                    return Came::Close(code.into());
                }
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    let bytes = message.into_data();
                    return Came::Text(String::from_utf8_lossy(&bytes).into_owned());
                }
                Ok(_) => {}
                Err(error) => return Came::Broken(error.to_string()),
            }
        }
    }

    /// As [`Self::receive`], if something begins to come within `time`.
    ///
    /// # Errors
    /// As the system says.
    pub fn receive_within(&mut self, time: Duration) -> io::Result<Option<Came>> {
        self.socket.get_ref().set_read_timeout(Some(time))?;
        let read = self.socket.read();
        self.socket.get_ref().set_read_timeout(Some(patience()))?;
        match read {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Ok(Some(Came::Broken(error.to_string()))),
            Ok(Message::Close(frame)) => {
                while self.socket.read().is_ok() {}
                let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                Ok(Some(Came::Close(code.into())))
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Ok(message) => {
                let text = String::from_utf8_lossy(&message.into_data()).into_owned();
                Ok(Some(Came::Text(text)))
            }
        }
    }

    /// Sends `text` and gets it back.
    ///
    /// # Errors
    /// What came instead.
    pub fn echo(&mut self, text: &str) -> Result<(), Came> {
        self.send(text).map_err(|error| match self.receive() {
            closed @ Came::Close(_) => closed,
            _ => Came::Broken(error.to_string()),
        })?;
        match self.receive() {
            Came::Text(back) if back == text => Ok(()),
            other => Err(other),
        }
    }

    /// The process that the `whoami` test plugin names.
    ///
    /// # Errors
    /// What came instead.
    pub fn who(&mut self) -> Result<u32, Came> {
        self.send("who").map_err(|error| Came::Broken(error.to_string()))?;
        match self.receive() {
            Came::Text(text) => {
                let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
                let pid = json.and_then(|json| u32::try_from(json["pid"].as_u64()?).ok());
                pid.ok_or(Came::Text(text))
            }
            other => Err(other),
        }
    }
}

/// What a [`SocketLoad`] met.
#[derive(Clone, Debug, Default)]
pub struct SocketReport {
    /// Messages that came back.
    pub echoes: u64,
    /// Codes of the close frames, in order.
    pub codes: Vec<u16>,
    /// Ends without a close frame, failed connections, wrong echoes.
    pub broken: Vec<String>,
    /// Who answered, one entry for each connection of each client, in order.
    pub pids: Vec<Vec<u32>>,
}

/// WebSocket clients that echo all the time and come back whenever they are closed.
#[derive(Debug)]
pub struct SocketLoad {
    ended: Arc<AtomicBool>,
    report: Arc<Mutex<SocketReport>>,
    threads: Vec<JoinHandle<()>>,
}

impl SocketLoad {
    /// `count` clients of `target`, each with a message every `pace`.
    #[must_use]
    pub fn start(address: SocketAddr, target: &str, count: usize, pace: Duration) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let pids = vec![Vec::new(); count];
        let report = Arc::new(Mutex::new(SocketReport { pids, ..SocketReport::default() }));
        let threads = (0..count).map(|number| {
            let (ended, report, target) = (ended.clone(), report.clone(), target.to_owned());
            std::thread::spawn(move || {
                while !ended.load(SeqCst) {
                    let end = converse(address, &target, pace, &ended, |pid| {
                        edit(&report, |report| match pid {
                            Some(pid) => report.pids[number].push(pid),
                            None => report.echoes += 1,
                        });
                    });
                    edit(&report, |report| match end {
                        None => {}
                        Some(Came::Close(code)) => report.codes.push(code),
                        Some(other) => report.broken.push(format!("{other:?}")),
                    });
                }
            })
        });
        let threads = threads.collect();
        Self { ended, report, threads }
    }

    /// What was met so far.
    #[must_use]
    pub fn so_far(&self) -> SocketReport {
        edit(&self.report, |report| report.clone())
    }

    /// Ends it: what was met.
    ///
    /// # Panics
    /// When a client panicked.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> SocketReport {
        self.ended.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("a WebSocket client panicked");
        }
        edit(&self.report, std::mem::take)
    }
}

fn edit<T>(report: &Mutex<SocketReport>, change: impl FnOnce(&mut SocketReport) -> T) -> T {
    change(&mut report.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One connection from its beginning to its end; `None`: ended by ourselves.
fn converse(
    address: SocketAddr,
    target: &str,
    pace: Duration,
    ended: &AtomicBool,
    note: impl Fn(Option<u32>),
) -> Option<Came> {
    let mut socket = match Socket::open(address, target) {
        Ok(socket) => socket,
        Err(error) => {
            // Not at once again, where nobody listens.
            crate::patience::breathe(pace);
            return Some(Came::Broken(format!("connect: {error}")));
        }
    };
    match socket.who() {
        Ok(pid) => note(Some(pid)),
        Err(end) => return Some(end),
    }
    for number in 0_u64.. {
        if ended.load(SeqCst) {
            return None;
        }
        match socket.echo(&format!("message {number}")) {
            Ok(()) => note(None),
            Err(end) => return Some(end),
        }
        match socket.receive_within(pace) {
            Ok(None) => {}
            Ok(Some(end)) => return Some(end),
            Err(error) => return Some(Came::Broken(error.to_string())),
        }
    }
    None
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name.
    pub event: String,
    /// Its lines of data, joined.
    pub data: String,
}

/// A stream of server-sent events, read as slowly as the test wants.
#[derive(Debug)]
pub struct ServerEvents {
    connection: Connection,
    text: String,
}

impl ServerEvents {
    /// Asks for it.
    ///
    /// # Errors
    /// As the system says; `InvalidData` when the answer is no such stream.
    pub fn open(address: SocketAddr, target: &str) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        connection.send_request("GET", target, "Accept: text/event-stream\r\n")?;
        let head = connection.read_head()?;
        let kind = head.header("content-type").unwrap_or_default();
        if head.status != 200 || !kind.starts_with("text/event-stream") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{head:?}")));
        }
        Ok(Self { connection, text: String::new() })
    }

    /// The next event; `None` at the proper end of the stream.
    ///
    /// # Errors
    /// As the system says; a stream that breaks off is no proper end.
    pub fn receive(&mut self) -> io::Result<Option<ServerEvent>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = ServerEvent::default();
                for line in block.lines() {
                    if let Some(name) = line.strip_prefix("event: ") {
                        name.clone_into(&mut event.event);
                    } else if let Some(data) = line.strip_prefix("data: ") {
                        event.data.push_str(data);
                    }
                }
                self.text = rest.to_owned();
                return Ok(Some(event));
            }
            let chunk = self.connection.read_chunk()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// Everything up to the proper end.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn rest(&mut self) -> io::Result<Vec<ServerEvent>> {
        std::iter::from_fn(|| self.receive().transpose()).collect()
    }
}
