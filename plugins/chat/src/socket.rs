//! One client's WebSocket, from its join to its end.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
};
use hotseat_plugin_api::{Cell, Result, Subscription, Topic, TopicError};
use serde::Serialize;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    Chat,
    room::{self, Name, Place, Room, RoomName},
};

/// What a client has to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Pings without a word before a client is let go.
const PINGS: u32 = 3;

/// Messages that wait for a socket.
const WAITING: u16 = 64;

/// Somebody in a room.
pub(crate) struct Member {
    chat: Arc<Chat>,
    name: Name,
    cell: Cell,
    topic: Topic,
    live: Subscription,
    place: Place,
}

/// Why a socket is closed: one of `close_code`, and a word for people.
type End = (u16, &'static str);

impl Member {
    /// Listens first and reads the room afterwards, so that nothing falls between the two.
    pub(crate) fn enter(chat: &Arc<Chat>, room: &RoomName, name: Name) -> Result<Self, TopicError> {
        let topic = chat.context.topic(room.as_str())?;
        // No more may wait than the cell has: else it would begin behind those that wait.
        let live = topic.subscribe_with(chat.settings.history.get().min(WAITING).into())?;
        let cell = room.cell(&chat.context);
        Ok(Self { chat: chat.clone(), name, cell, topic, live, place: Place::default() })
    }

    pub(crate) async fn converse(mut self, mut socket: WebSocket) {
        let (context, stay) = (self.chat.context.clone(), self.chat.stay());
        let leave = async {
            context.draining().await;
            sleep(stay).await;
        };
        // `talk` can be dropped wherever it waits: a message is posted as soon as it is received, and
        // what is sent in part stays in the socket.
        let end = tokio::select! {
            end = self.talk(&mut socket) => end,
            () = leave => Err((close_code::RESTART, "another version serves")),
        };
        let Err((code, reason)) = end else { return };
        tracing::debug!(code, reason, room = self.topic.name(), "a socket ends");
        let closing = async {
            socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
            // What the client has sent before it has read that counts; its own close is the end.
            while let Some(came) = socket.recv().await {
                if let Message::Text(text) = came? {
                    let _cannot_be_told = self.post(&text);
                    yield_now().await;
                }
            }
            Ok::<_, axum::Error>(())
        };
        // It may be gone already, or not answer.
        let _ = timeout(CLOSE_TIME, closing).await;
    }

    /// Until the client closes, or for another reason.
    async fn talk(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        // Of what was said before it came, it has missed nothing.
        let mut room = self.look()?;
        room.missed = 0;
        self.send(socket, json(&room)).await?;
        let mut pings = interval(self.chat.settings.ping());
        // Those that fell due while a client was slow are none that it has not answered.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut unanswered = 0;
        loop {
            tokio::select! {
                live = self.live.next() => {
                    let live = live.ok_or((close_code::RESTART, "this version is at its end"))?;
                    let news = self.hear(live.bytes())?;
                    self.tell(socket, news).await?;
                }
                came = socket.recv() => {
                    unanswered = 0;
                    match came {
                        Some(Ok(Message::Text(text))) => {
                            if let Err(why) = self.post(&text) {
                                let refused = serde_json::json!({ "refused": why.to_string() });
                                self.send(socket, json(&refused)).await?;
                            }
                            // All sockets share a thread: whoever floods his room gets one turn as
                            // others do.
                            yield_now().await;
                        }
                        Some(Ok(Message::Binary(_))) => {
                            return Err((close_code::UNSUPPORTED, "messages are text"));
                        }
                        // The library answers pings, and a close with the next call.
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a frame cannot be read");
                            return Err((close_code::PROTOCOL, "that is no frame, or too long"));
                        }
                        None => return Ok(()),
                    }
                }
                _ = pings.tick() => {
                    unanswered += 1;
                    if unanswered > PINGS {
                        return Err((close_code::AWAY, "there was no answer"));
                    }
                    self.send(socket, Message::Ping(Bytes::new())).await?;
                    let news = self.look()?;
                    self.tell(socket, news).await?;
                }
            }
        }
    }

    async fn tell(&self, socket: &mut WebSocket, news: Room) -> Result<(), End> {
        if news.messages.is_empty() {
            return Ok(());
        }
        self.send(socket, json(&news)).await
    }

    /// A client that does not read is waited for by its own task alone: what is said meanwhile is in
    /// the cell, as far as that goes back.
    async fn send(&self, socket: &mut WebSocket, frame: Message) -> Result<(), End> {
        match timeout(self.chat.settings.ping() * PINGS, socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err((close_code::AWAY, "nothing was taken")),
        }
    }

    /// What is new, when `live` was published: that, if it is what comes next. Else somebody on another
    /// core was faster, or this reader too slow, or another worker serves too, and the cell has it all.
    fn hear(&mut self, live: &[u8]) -> Result<Room, End> {
        let mut place = self.place;
        match serde_json::from_slice(live).map(|room| place.advance(room)) {
            Ok(news) if news.missed == 0 => {
                self.place = place;
                Ok(news)
            }
            Ok(_) | Err(_) => self.look(),
        }
    }

    /// What is new in the cell.
    fn look(&mut self) -> Result<Room, End> {
        let room = room::read(&self.cell).map_err(|error| {
            tracing::warn!(%error, room = self.topic.name(), "a room cannot be read");
            (close_code::ERROR, "the room cannot be read")
        })?;
        Ok(self.place.advance(room))
    }

    /// Says `text` in the room; its own client hears it as all others do.
    fn post(&self, text: &str) -> Result<()> {
        let settings = &self.chat.settings;
        let text = room::checked(text, settings.message_bytes.get().into())?;
        let with = |room: Option<Room>| {
            room.unwrap_or_default().with(&self.name, text, settings.history.get().into())
        };
        let room = self.cell.update_as(with)?.value;
        // Where this fails the message is in the room all the same, and is found with the next ping.
        if let Err(error) = self.topic.publish(serde_json::to_vec(&room.last())?) {
            tracing::warn!(%error, room = self.topic.name(), "a message cannot be published");
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Message {
    let text = serde_json::to_string(value).expect("its keys are texts");
    Message::Text(text.into())
}
