//! `/v1/events`: what became true, in order.
//!
//! Owns the waiting. Open the stream before the act whose events are awaited. # Source: the
//! server-sent events of the HTML standard.

use std::{io, time::Instant};

use serde_json::Value;

use crate::{client::Connection, patience::patience};

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// `committed`, `refused`, `unloaded`, ..
    pub phase: String,
    /// The plugin it concerns, or empty.
    pub plugin: String,
    /// The generation it concerns, or 0.
    pub generation: u64,
    /// The order it belongs to, or 0.
    pub order: u64,
    /// Its number, or 0.
    pub sequence: u64,
    /// One line more.
    pub detail: String,
    /// As it came.
    pub json: Value,
}

impl Event {
    /// The label it concerns, or empty.
    #[must_use]
    pub fn label(&self) -> String {
        self.json["label"].as_str().unwrap_or_default().to_owned()
    }
}

/// An open stream of events.
#[derive(Debug)]
pub struct EventStream {
    connection: Connection,
    text: Vec<u8>,
    seen: Vec<Event>,
}

impl EventStream {
    /// Asks for the stream and waits for its head: everything published later arrives.
    ///
    /// # Panics
    /// When the answer is none.
    #[must_use]
    #[track_caller]
    pub fn open(connection: Connection) -> Self {
        Self::open_after(connection, None)
    }

    /// As [`open`](Self::open), for a client that comes back: it has seen the event `last`.
    ///
    /// # Panics
    /// As [`open`](Self::open).
    #[must_use]
    #[track_caller]
    pub fn open_after(mut connection: Connection, last: Option<u64>) -> Self {
        let mut request = "Accept: text/event-stream\r\n".to_owned();
        if let Some(last) = last {
            request += &format!("Last-Event-ID: {last}\r\n");
        }
        connection.send_request("GET", "/v1/events", &request).expect("ask for events");
        let head = connection.read_head().expect("events are answered");
        head.assert_status(200);
        Self { connection, text: Vec::new(), seen: Vec::new() }
    }

    fn block(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&block).into_owned());
            }
            let chunk = self.connection.read_chunk()?;
            if chunk.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.text.extend(chunk);
        }
    }

    /// The next event; comments (keep-alives) are skipped.
    ///
    /// # Errors
    /// When the stream ends, or nothing comes within patience.
    pub fn read(&mut self) -> io::Result<Event> {
        let end = Instant::now() + patience();
        loop {
            // Comments come for ever.
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let block = self.block()?;
            let data: String =
                block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            let Ok(json) = serde_json::from_str::<Value>(data.trim()) else { continue };
            let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| json[name].as_u64().unwrap_or(0);
            let event = Event {
                phase: text("phase"),
                plugin: text("plugin"),
                generation: number("generation"),
                order: number("order"),
                sequence: number("sequence"),
                detail: text("detail"),
                json,
            };
            self.seen.push(event.clone());
            return Ok(event);
        }
    }

    /// Reads on until `wanted` says yes.
    ///
    /// # Panics
    /// When it does not within patience; what came instead is shown.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + patience();
        loop {
            match self.read() {
                Ok(event) if wanted(&event) => return event,
                Ok(_) if Instant::now() < end => {}
                other => {
                    let seen: Vec<_> = self.seen.iter().map(|it| it.json.to_string()).collect();
                    panic!("the event did not come ({other:?}); seen:\n{}", seen.join("\n"));
                }
            }
        }
    }

    /// Waits for `phase`.
    ///
    /// # Panics
    /// As [`Self::wait_for`].
    #[track_caller]
    pub fn wait_phase(&mut self, phase: &str) -> Event {
        self.wait_for(|event| event.phase == phase)
    }

    /// Waits until `generation` is in `phase`.
    ///
    /// # Panics
    /// As [`Self::wait_for`].
    #[track_caller]
    pub fn wait_generation(&mut self, generation: u64, phase: &str) -> Event {
        self.wait_for(|event| event.generation == generation && event.phase == phase)
    }

    /// What was read so far.
    #[must_use]
    pub fn seen(&self) -> &[Event] {
        &self.seen
    }
}
