//! `chat`: rooms over WebSocket.

use std::{io, time::Instant};

use hotseat_test_support::{
    Builder, Host, host, library, patience, plugin,
    stream::{Came, Socket},
};
use serde_json::Value;

mod crowd;
mod frames;
mod slow;
mod versions;

/// A host with it at `/chat`; `settings` are lines of its table.
fn builder(settings: &str) -> Builder {
    host!().with(plugin("chat"), "libchat_v1.so").config(&format!("[plugin.chat]\n{settings}\n"))
}

/// Other bytes, and the same plugin. The file is written over: hundreds of them would fill a disk.
#[track_caller]
fn swap(host: &Host, version: usize) {
    let bytes = [&library::bytes(&plugin("chat"))[..], &version.to_le_bytes()].concat();
    host.deploy_bytes(&bytes, "libchat_v2.so").swapped();
}

/// What a client has of its room, over all its connections.
struct Member {
    socket: Socket,
    /// The number of the last message.
    last: u64,
    /// `NAME: TEXT` each, in order.
    heard: Vec<String>,
    missed: u64,
}

impl Member {
    fn join(host: &Host, room: &str, name: &str) -> Self {
        Self::open(&format!("/chat/rooms/{room}/socket?name={name}"), host.data()).unwrap()
    }

    fn open(target: &str, address: std::net::SocketAddr) -> io::Result<Self> {
        let socket = Socket::open(address, target)?;
        let mut member = Self { socket, last: 0, heard: Vec::new(), missed: 0 };
        member.begin();
        Ok(member)
    }

    /// Comes back to the same room: nothing that was said meanwhile is missing there.
    fn come_back(&mut self, target: &str, address: std::net::SocketAddr) -> io::Result<()> {
        self.socket = Socket::open(address, target)?;
        self.begin();
        Ok(())
    }

    /// The first frame is the room as it is.
    #[track_caller]
    fn begin(&mut self) {
        match self.socket.receive() {
            Came::Text(text) => {
                let room: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(room["missed"], 0, "{text}");
                self.take(&room, self.last);
            }
            other => panic!("{other:?} instead of the room"),
        }
    }

    /// Each message comes once and in its turn, after those that are `known`.
    #[track_caller]
    fn take(&mut self, room: &Value, known: u64) {
        self.missed += room["missed"].as_u64().unwrap();
        let mut expected = self.last + 1 + room["missed"].as_u64().unwrap();
        for message in room["messages"].as_array().unwrap() {
            let number = message["number"].as_u64().unwrap();
            if number <= known {
                continue;
            }
            // Who joins anew begins with what the room has.
            assert!(number == expected || self.last == 0, "{number} behind {}", self.last);
            let said = |key: &str| message[key].as_str().unwrap().to_owned();
            self.heard.push(format!("{}: {}", said("name"), said("text")));
            (self.last, expected) = (number, number + 1);
        }
    }

    /// A frame that has come: why a message was refused, or how the socket has ended.
    #[track_caller]
    fn note(&mut self, came: Came) -> Result<(), Came> {
        let Came::Text(text) = came else { return Err(came) };
        let json: Value = serde_json::from_str(&text).unwrap();
        match json["refused"].as_str() {
            Some(why) => Err(Came::Text(why.to_owned())),
            None => {
                self.take(&json, 0);
                Ok(())
            }
        }
    }

    /// The next frame, however often it is asked meanwhile whether it is there.
    #[track_caller]
    fn listen(&mut self) -> Result<(), Came> {
        let begin = Instant::now();
        while begin.elapsed() < patience() {
            if let Some(came) = self.socket.receive_within(patience()).unwrap() {
                return self.note(came);
            }
        }
        panic!("nothing came");
    }

    /// Says it, and hears it.
    #[track_caller]
    fn say(&mut self, text: &str) {
        self.socket.send(text).unwrap();
        self.wait_for(text.trim());
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.heard.iter().any(|it| it.split_once(": ").is_some_and(|it| it.1 == text)) {
            self.listen().unwrap_or_else(|other| panic!("{other:?} instead of `{text}`"));
        }
    }

    /// Hears the rest, and that another version serves.
    #[track_caller]
    fn wait_closed(&mut self) {
        let end = loop {
            match self.listen() {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        assert_eq!(end, Came::Close(1012));
    }

    #[track_caller]
    fn check_refused(&mut self, text: &str, why: &str) {
        self.socket.send(text).unwrap();
        assert_eq!(self.listen(), Err(Came::Text(why.to_owned())));
    }
}

/// How many sockets are in rooms, in all versions.
#[track_caller]
fn readers(host: &Host) -> u64 {
    crate::beside::metric(host, "hotseat_topic_subscribers", "chat")
}

#[test]
fn a_page_and_a_room() {
    let host = builder("history = 3").start();
    for target in ["/chat", "/chat/"] {
        host.get(target).assert_status(200).assert_contains("new WebSocket(address())");
    }
    let room = || {
        let mut json = host.get("/chat/rooms/lobby").assert_status(200).json();
        let texts = json["messages"].as_array_mut().unwrap();
        texts.iter_mut().map(|it| it["text"].take()).collect::<Vec<_>>()
    };
    assert_eq!(room(), Vec::<Value>::new());
    let mut ann = Member::join(&host, "lobby", "ann");
    let mut bob = Member::join(&host, "lobby", "Bob%20%C3%96.");
    let mut other = Member::join(&host, "other", "cy");
    ann.say("one");
    bob.wait_for("one");
    bob.say(" two\n\"lines\" ");
    ann.wait_for("two\n\"lines\"");
    for text in ["three", "four"] {
        ann.say(text);
    }
    other.say("elsewhere");
    assert_eq!(room(), ["two\n\"lines\"", "three", "four"], "bounded");
    let late = Member::join(&host, "lobby", "dee");
    assert_eq!(late.heard, ["Bob Ö.: two\n\"lines\"", "ann: three", "ann: four"]);
    assert_eq!(other.heard, ["cy: elsewhere"]);
    assert_eq!(readers(&host), 4);
}

#[test]
fn what_does_not_fit_is_refused() {
    let host = builder("message_bytes = 10").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    ann.check_refused("elevenbytes", "it is longer than 10 bytes");
    ann.check_refused(&"z".repeat(60_000), "it is longer than 10 bytes");
    ann.check_refused(" \n", "there is nothing in it");
    ann.check_refused("a\u{1}", "there are control characters in it");
    ann.say("ten bytes.");
    for (target, why) in [
        ("/chat/rooms/Lobby", "a room's name has from 1 to 32 of a-z"),
        ("/chat/rooms/%2e%2e", "a room's name has from 1 to 32 of a-z"),
        ("/chat/rooms/Lobby/socket?name=ann", "a room's name has from 1 to 32 of a-z"),
        ("/chat/rooms/lobby/socket?name=", "a name has from 1 to 32 characters"),
        ("/chat/rooms/lobby/socket?name=%07", "a name has from 1 to 32 characters"),
        ("/chat/rooms/lobby/socket", "missing field `name`"),
        ("/chat/rooms/lobby/socket?name=ann", "'upgrade'"),
    ] {
        host.get(target).assert_status(400).assert_contains(why);
    }
}

/// The host's bounds are told as well.
#[test]
fn a_full_house_says_so() {
    let host = builder("").arg("--subscribers-count=2").arg("--cells-count=1").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    let mut bob = Member::join(&host, "other", "bob");
    let error = Socket::open(host.data(), "/chat/rooms/lobby/socket?name=cy").unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    ann.say("a");
    bob.socket.send("b").unwrap();
    let Err(Came::Text(why)) = bob.listen() else { panic!("it was not refused") };
    assert!(why.contains("cells_count"), "{why}");
    ann.say("c");
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    for (settings, at, says) in [
        ("history = 0", ":2: ", "history: invalid value: integer `0`, expected a nonzero u16"),
        (
            "message_bytes = 70000",
            ":2: ",
            "message_bytes: invalid value: integer `70000`, expected a nonzero u16",
        ),
        ("history = 5\ncolour = 1", ":3: ", "colour: unknown field `colour`, expected one of"),
        (
            "history = 1000",
            "",
            "a `history` of 1000 with `message_bytes` of 2000 may take 4256000 bytes a room",
        ),
    ] {
        let host = host!().config(&format!("[plugin.chat]\n{settings}\n")).start();
        let refused =
            host.deploy(&plugin("chat"), "libchat_v1.so").assert_refused(422, "new_failed");
        let place = if at.is_empty() { String::new() } else { format!("hotseat.toml{at}") };
        let expected = format!("{place}[plugin.chat] {says}");
        assert!(refused.text.contains(&expected), "{expected}: {}", refused.text);
    }
}
