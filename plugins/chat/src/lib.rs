//! Rooms over WebSocket, whose last messages outlive every version.
//!
//! ```text
//! curl localhost:28000 -d ./libchat.so                       # then http://localhost:8080/chat
//! curl localhost:8080/chat/rooms/lobby                       # the last messages
//! curl -N --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
//!      -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
//!      'localhost:8080/chat/rooms/lobby/socket?name=ann'     # what a client gets, frames and all
//! ```
//!
//! A client sends texts. What it gets is JSON: messages in the order of their numbers, and how many
//! before them are gone (`{"began":…,"missed":0,"messages":[{"number":1,"at":…,"name":"ann","text":"hi"}]}`),
//! first of all the last ones of its room; or `{"refused":"why"}`.
//!
//! | `[plugin.chat]` | | |
//! |---|---|---|
//! | `history` | 50 | messages that a room keeps |
//! | `message_bytes` | 2000 | how long one may be |
//! | `ping_seconds` | 5 | a client is asked so often whether it is there; after three without a word it is let go |
//! | `spread_ms` | 1000 | clients are sent away within this time when another version serves, and so do not all come back at one moment; it has to fit into the host's `generation_drain` and `upgrade_drain` |
//! | `keep_days` | 7 | a room in which nobody has spoken for so long is removed |
//!
//! # What living in a host comes to
//! - **State** is in cells, one for each room: all versions and workers see the same one. A message gets
//!   its number in the update of the cell. A topic brings it to those who listen, in this process alone
//!   and in whatever order the cores publish, so it is only the fast way: whoever hears another number
//!   than the next one reads the cell (`room::Place`).
//! - **A swap:** at the drain notice each socket gets its close frame, 1012. What a client has sent before
//!   it has read that counts. Meanwhile sockets of both versions are in one room and hear each other.
//! - **An upgrade of the host:** the worker before keeps its sockets while the next one is watched
//!   (`soak_time`), and neither hears the other's topics. So each socket looks into the cell with each
//!   ping, and with each message that has another number than the next.
//! - **In the preflight** a version reads all rooms that there are. One that cannot is refused there,
//!   before anybody meets it.

mod room;
mod socket;

use std::{
    fmt::Display,
    num::{NonZeroU8, NonZeroU16},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State, WebSocketUpgrade},
    http::StatusCode,
    response::{Html, Response},
    routing::get,
};
use hotseat_plugin_api::{Context, Error, Result, export_axum};
use serde::Deserialize;

use crate::{
    room::{Name, Room, RoomName},
    socket::Member,
};

/// What a message takes beside its text, with the longest name. Units: bytes.
const ENVELOPE: usize = 256;
/// What a room may take: the host's default for `cell_bytes`.
const ROOM_BYTES: usize = 1 << 20;
/// What is longer than a message may be is refused with a word, up to here. Units: bytes.
const MESSAGE_MAX: usize = 256 << 10;
const PRUNE_PERIOD: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    history: NonZeroU16,
    message_bytes: NonZeroU16,
    ping_seconds: NonZeroU8,
    spread_ms: u16,
    keep_days: NonZeroU16,
}

impl Default for Settings {
    fn default() -> Self {
        let number = |it| NonZeroU16::new(it).expect("it is not zero");
        Self {
            history: number(50),
            message_bytes: number(2000),
            ping_seconds: NonZeroU8::new(5).expect("it is not zero"),
            spread_ms: 1000,
            keep_days: number(7),
        }
    }
}

impl Settings {
    /// Whether a full room fits into its cell: JSON doubles a text at most, as there are no control
    /// characters in it but tabs and ends of lines.
    fn check(&self) -> Result<()> {
        let (history, message) = (self.history.get(), self.message_bytes.get());
        let bytes = usize::from(history) * (2 * usize::from(message) + ENVELOPE);
        if bytes > ROOM_BYTES {
            return Err(Error::new(format_args!(
                "[plugin.chat] a `history` of {history} with `message_bytes` of {message} may take \
                 {bytes} bytes a room, and {ROOM_BYTES} are what it may take: lower one of them"
            )));
        }
        Ok(())
    }

    fn ping(&self) -> Duration {
        Duration::from_secs(self.ping_seconds.get().into())
    }
}

struct Chat {
    context: Context,
    settings: Settings,
    sockets: AtomicU32,
}

impl Chat {
    /// How long the next socket stays after the drain notice: steps of the golden ratio, which spread
    /// however many there are.
    fn stay(&self) -> Duration {
        let turn = self.sockets.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9);
        let spread = Duration::from_millis(self.settings.spread_ms.into());
        spread.mul_f64(f64::from(turn) / f64::from(u32::MAX))
    }
}

fn app(context: &Context) -> Result<Router> {
    let settings: Settings = context.config_as()?;
    settings.check()?;
    if context.is_preflight() {
        for key in context.cells()? {
            context.cell(&key).get_as::<Room>()?;
        }
    }
    let keep = Duration::from_secs(86_400 * u64::from(settings.keep_days.get()));
    let rooms = context.clone();
    drop(context.every(PRUNE_PERIOD, move || {
        let context = rooms.clone();
        async move { room::prune(&context, keep) }
    })?);
    let chat = Chat { context: context.clone(), settings, sockets: AtomicU32::new(0) };
    Ok(Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/rooms/{room}", get(messages))
        .route("/rooms/{room}/socket", get(join))
        .with_state(Arc::new(chat)))
}

type Answer<T> = Result<T, (StatusCode, String)>;

fn unavailable(error: impl Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

async fn messages(State(chat): State<Arc<Chat>>, Path(room): Path<RoomName>) -> Answer<Json<Room>> {
    Ok(Json(room::read(&room.cell(&chat.context)).map_err(unavailable)?))
}

#[derive(Deserialize)]
struct Who {
    name: Name,
}

async fn join(
    State(chat): State<Arc<Chat>>,
    Path(room): Path<RoomName>,
    Query(Who { name }): Query<Who>,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    // Where there is no room for another reader, HTTP can still say so.
    let member = Member::enter(&chat, &room, name).map_err(unavailable)?;
    // By default it is 128 KiB for each socket.
    let upgrade = upgrade.read_buffer_size(4 << 10).max_message_size(MESSAGE_MAX);
    Ok(upgrade.on_upgrade(move |socket| member.converse(socket)))
}

export_axum!(app);
