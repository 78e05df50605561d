//! A room: its messages, their numbers, and how far somebody has read.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hotseat_plugin_api::{Cell, CellError, Context};
use serde::{Deserialize, Serialize};

/// Messages one after another: all that a room's cell keeps, or those that are new to somebody.
///
/// The next version has to read what this one writes: fields may be added, with a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Room {
    /// When the room was made, in milliseconds: one that is made again after it was removed numbers its
    /// messages anew.
    began: u64,
    /// How many before these are gone.
    pub(crate) missed: u64,
    pub(crate) messages: VecDeque<Message>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    number: u64,
    at: u64,
    name: String,
    text: String,
}

impl Room {
    /// The room with one more message, and without the oldest where it has more than `history`.
    pub(crate) fn with(mut self, name: &Name, text: &str, history: usize) -> Self {
        let at = now();
        if self.began == 0 {
            self.began = at;
        }
        let number = self.messages.back().map_or(0, |it| it.number) + 1;
        let (name, text) = (name.0.clone(), text.to_owned());
        self.messages.push_back(Message { number, at, name, text });
        self.messages.drain(..self.messages.len().saturating_sub(history));
        self
    }

    /// Its last message alone.
    pub(crate) fn last(mut self) -> Self {
        self.messages.drain(..self.messages.len().saturating_sub(1));
        self
    }
}

/// How far somebody has read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    began: u64,
    number: u64,
}

impl Place {
    /// Goes on to the end of `room`: what in it is new, and how many are missing before that.
    pub(crate) fn advance(&mut self, mut room: Room) -> Room {
        let known = if room.began == self.began { self.number } else { 0 };
        room.messages.retain(|it| it.number > known);
        if let (Some(first), Some(last)) = (room.messages.front(), room.messages.back()) {
            room.missed = first.number - known - 1;
            *self = Self { began: room.began, number: last.number };
        }
        room
    }
}

pub(crate) fn read(cell: &Cell) -> Result<Room, CellError> {
    Ok(cell.get_as()?.map(|it| it.value).unwrap_or_default())
}

/// Removes the rooms in which nobody has spoken for as long as `keep`.
pub(crate) fn prune(context: &Context, keep: Duration) -> Result<(), CellError> {
    let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let before = now().saturating_sub(keep);
    for key in context.cells()? {
        let cell = context.cell(&key);
        let Some(room) = cell.get_as::<Room>()? else { continue };
        if room.value.messages.back().is_none_or(|it| it.at < before) {
            // Unless somebody speaks at this moment.
            match cell.remove_if(room.version) {
                Ok(()) => tracing::info!(key, "removed a room"),
                Err(CellError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// From 1 to 32 of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RoomName(String);

impl TryFrom<String> for RoomName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it);
        match (1..=32).contains(&name.len()) && name.bytes().all(fits) {
            true => Ok(Self(name)),
            false => Err("a room's name has from 1 to 32 of a-z, 0-9, - and _"),
        }
    }
}

impl RoomName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn cell(&self, context: &Context) -> Cell {
        context.cell(&format!("room:{}", self.0))
    }
}

/// From 1 to 32 characters, none of which is a control character, and no blanks around them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let length = name.chars().count();
        match (1..=32).contains(&length) && name.trim() == name && !name.contains(char::is_control)
        {
            true => Ok(Self(name)),
            false => {
                Err("a name has from 1 to 32 characters, and none of them is a control character")
            }
        }
    }
}

/// A message's text, if it may be one.
pub(crate) fn checked(text: &str, max: usize) -> Result<&str, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("there is nothing in it".to_owned());
    }
    if text.len() > max {
        return Err(format!("it is longer than {max} bytes"));
    }
    if text.contains(|it: char| it.is_control() && !"\n\t".contains(it)) {
        return Err("there are control characters in it".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(texts: &[&str], history: usize) -> Room {
        let ann = Name("ann".to_owned());
        texts.iter().fold(Room::default(), |room, text| room.with(&ann, text, history))
    }

    fn numbers(room: &Room) -> Vec<u64> {
        room.messages.iter().map(|it| it.number).collect()
    }

    #[test]
    fn a_room_keeps_the_last_ones() {
        let room = room(&["a", "b", "c"], 2);
        assert_eq!(numbers(&room), [2, 3]);
        assert_eq!(numbers(&room.last()), [3]);
    }

    #[test]
    fn a_reader_gets_each_once_and_hears_of_gaps() {
        let all = ["a", "b", "c", "d", "e"];
        let whole = room(&all, 9);
        let part = |count: usize| {
            let mut part = whole.clone();
            part.messages.truncate(count);
            part
        };
        let mut place = Place::default();
        let first = place.advance(part(2));
        assert_eq!((numbers(&first), first.missed), (vec![1, 2], 0));
        // Known already, in whatever order it comes.
        assert_eq!(place.advance(part(1).last()).messages.len(), 0);
        let next = place.advance(part(3).last());
        assert_eq!((numbers(&next), next.missed), (vec![3], 0));
        // Whoever publishes was faster than somebody with a lower number.
        let mut ahead = place;
        assert_eq!(ahead.advance(part(5).last()).missed, 1);
        assert_eq!(numbers(&place.advance(whole)), [4, 5]);
    }

    #[test]
    fn a_room_that_is_made_again_is_another_one() {
        let mut place = Place::default();
        place.advance(room(&["a", "b", "c"], 9));
        let mut again = room(&["d"], 9);
        again.began += 1;
        let news = place.advance(again);
        assert_eq!((numbers(&news), news.missed), (vec![1], 0));
    }

    #[test]
    fn names_and_texts_are_checked() {
        let room = |name: &str| RoomName::try_from(name.to_owned()).is_ok();
        assert!(room("lobby-2") && !room("") && !room("../x") && !room(&"a".repeat(33)));
        let name = |name: &str| Name::try_from(name.to_owned()).is_ok();
        assert!(name("Ann Ö.") && !name(" ann") && !name("a\u{7}") && !name(&"a".repeat(33)));
        assert_eq!(checked(" a\n b ", 9), Ok("a\n b"));
        assert!(
            checked(" ", 9).is_err() && checked("\u{1}", 9).is_err() && checked("ab", 1).is_err()
        );
    }
}
