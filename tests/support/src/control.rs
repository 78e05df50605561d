//! The control plane as a client meets it.
//!
//! Owns posting, reading and the two ways in which an update can end.

use std::{net::SocketAddr, os::unix::ffi::OsStrExt as _, path::Path};

use serde_json::Value;

use crate::{
    client::{Answer, Connection},
    events::EventStream,
    wire,
};

/// A control plane address. Each request is a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Where it listens.
    pub address: SocketAddr,
}

const JSON: &str = "Accept: application/json\r\n";

impl Control {
    /// A connection to it.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).expect("connect to the control plane")
    }

    /// Any request; `extra` are whole header lines.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, extra: &str, body: &[u8]) -> Answer {
        let mut connection = self.connect();
        let host = if extra.to_ascii_lowercase().starts_with("host:") {
            String::new()
        } else {
            format!("Host: localhost:{}\r\n", self.address.port())
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{host}{extra}Content-Length: {}\r\n\r\n",
            body.len()
        );
        connection.send(head).expect("send the head");
        // A refusal may come, and the connection close, before a large body is out.
        let sent = connection.send(body);
        match connection.read_answer() {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {target}: {error} (sending the body: {sent:?})"),
        }
    }

    /// `curl ADDRESS -d PATH`.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn post(&self, path: impl AsRef<[u8]>) -> Answer {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.request("POST", "/", form, path.as_ref())
    }

    /// As [`Self::post`], answered in JSON.
    ///
    /// # Panics
    /// When there is no answer, or none in JSON.
    #[track_caller]
    pub fn deploy(&self, path: impl AsRef<Path>) -> Deploy {
        let body = path.as_ref().as_os_str().as_bytes();
        Deploy::from(self.request("POST", "/", JSON, body))
    }

    /// POST of a JSON document.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn post_json(&self, target: &str, body: &Value) -> Answer {
        let extra = format!("{JSON}Content-Type: application/json\r\n");
        self.request("POST", target, &extra, body.to_string().as_bytes())
    }

    /// Rolls back; `None` leaves the choice to the host.
    ///
    /// # Panics
    /// When there is no answer, or none in JSON.
    #[track_caller]
    pub fn rollback(&self, plugin: Option<&str>, to: Option<u64>) -> Deploy {
        let mut body = serde_json::Map::new();
        body.extend(plugin.map(|name| ("plugin".to_owned(), name.into())));
        body.extend(to.map(|to| ("to".to_owned(), to.into())));
        Deploy::from(self.post_json("/v1/rollback", &Value::Object(body)))
    }

    /// Takes a plugin out.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn unload(&self, plugin: &str) -> Answer {
        self.request("DELETE", &format!("/v1/plugins/{plugin}"), JSON, b"")
    }

    /// GET as people read it.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, "", b"")
    }

    /// GET of a JSON document.
    ///
    /// # Panics
    /// When the answer is not 200 or no JSON.
    #[track_caller]
    pub fn get_json(&self, target: &str) -> Value {
        self.request("GET", target, JSON, b"").assert_status(200).json()
    }

    /// `/v1/status`.
    ///
    /// # Panics
    /// As [`Self::get_json`].
    #[track_caller]
    pub fn status(&self) -> Value {
        self.get_json("/v1/status")
    }

    /// `/v1/history`: its entries.
    ///
    /// # Panics
    /// As [`Self::get_json`].
    #[track_caller]
    pub fn history(&self) -> Vec<Value> {
        wire::list(&self.get_json("/v1/history"), "/history")
    }

    /// Listens to `/v1/events` behind the event `last`.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn events_after(&self, last: u64) -> EventStream {
        EventStream::open_after(self.connect(), Some(last))
    }

    /// Listens to `/v1/events` from now on.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> EventStream {
        EventStream::open(self.connect())
    }
}

/// How an update ended.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// As it came.
    pub answer: Answer,
}

impl From<Answer> for Deploy {
    fn from(answer: Answer) -> Self {
        Self { answer }
    }
}

/// New code serves.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// What serves now.
    pub generation: u64,
    /// `swapped`, `already_serves`, `rolled_back` or `unloaded`.
    pub change: String,
    /// The plugin.
    pub plugin: String,
    /// Its label, without a `v`.
    pub label: String,
    /// Things worth saying.
    pub notes: String,
    /// The whole answer.
    pub json: Value,
}

/// Nothing changed.
#[derive(Clone, Debug)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: String,
}

impl Deploy {
    /// It serves.
    ///
    /// # Panics
    /// When it was refused.
    #[track_caller]
    pub fn swapped(&self) -> Swapped {
        self.answer.assert_status(200);
        let json = self.answer.json();
        Swapped {
            generation: wire::number(&json, "/generation"),
            change: wire::text(&json, "/change"),
            plugin: wire::text(&json, "/plugin"),
            label: wire::text(&json, "/label"),
            notes: json["notes"].to_string(),
            json,
        }
    }

    /// It was refused.
    ///
    /// # Panics
    /// When it was not, or says no code.
    #[track_caller]
    pub fn refused(&self) -> Refused {
        assert!(self.answer.status >= 400, "it was not refused: {}", self.answer.text());
        let json = self.answer.json();
        Refused {
            status: self.answer.status,
            code: wire::text(&json, "/error/code"),
            text: wire::text(&json, "/error/message"),
            hint: json["error"]["hint"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// It was refused with this status and code, and says what to do.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, code: &str) -> Refused {
        let refused = self.refused();
        assert_eq!((refused.status, refused.code.as_str()), (status, code), "{refused:?}");
        assert!(!refused.text.contains('\n'), "one line: {refused:?}");
        refused
    }
}
