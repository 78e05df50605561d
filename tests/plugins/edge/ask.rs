//! What a request asks of the plugin: words of its query.
//!
//! Owns the words. A word that is none is an error, so that no test asks for nothing.

use std::time::Duration;

use hotseat_plugin_api::{Error, Request, Result};

/// What becomes of the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Ignored,
    Dropped,
    Piece,
    All,
    Held,
    Woken,
    Freed,
    Polled,
    Stashed,
}

/// Where a body that was taken stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Nowhere,
    Owner,
    Stream,
    Converse,
    Stash,
    Stashed,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Bytes,
    Known,
    Chunked,
    Trailers,
    Empty,
    Back,
    Early,
    Events,
    Fails,
    Error,
    Panic,
    Never,
    Loop,
    Upgrade,
    /// A conversation in which nothing is said.
    Mute,
}

/// All of it.
pub(crate) struct Ask {
    pub(crate) read: Read,
    pub(crate) keep: Keep,
    pub(crate) answer: Answer,
    pub(crate) status: Option<u16>,
    pub(crate) size: usize,
    pub(crate) length: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) wait: Option<Duration>,
    pub(crate) unstash: bool,
    block: Option<(Duration, String)>,
}

fn word<T: Copy>(request: &Request<'_>, name: &str, words: &[(&str, T)]) -> Result<T> {
    let typed = request.query_value(name);
    let typed = typed.as_deref().unwrap_or(words[0].0);
    let known = words.iter().find(|(word, _)| *word == typed);
    known.map(|(_, value)| *value).ok_or_else(|| Error::new(format_args!("no {name} is `{typed}`")))
}

impl Ask {
    pub(crate) fn of(request: &Request<'_>) -> Result<Self> {
        let number = |name: &str| -> Result<Option<u64>> {
            Ok(request.query_value(name).map(|typed| typed.parse()).transpose()?)
        };
        let millis = |name: &str| number(name).map(|it| it.map(Duration::from_millis));
        let at = request.query_value("at").unwrap_or_default().into_owned();
        Ok(Self {
            read: word(
                request,
                "read",
                &[
                    ("ignored", Read::Ignored),
                    ("dropped", Read::Dropped),
                    ("piece", Read::Piece),
                    ("all", Read::All),
                    ("held", Read::Held),
                    ("woken", Read::Woken),
                    ("freed", Read::Freed),
                    ("polled", Read::Polled),
                    ("stashed", Read::Stashed),
                ],
            )?,
            keep: word(
                request,
                "keep",
                &[
                    ("nowhere", Keep::Nowhere),
                    ("owner", Keep::Owner),
                    ("stream", Keep::Stream),
                    ("converse", Keep::Converse),
                    ("stash", Keep::Stash),
                    ("stashed", Keep::Stashed),
                ],
            )?,
            answer: word(
                request,
                "answer",
                &[
                    ("bytes", Answer::Bytes),
                    ("known", Answer::Known),
                    ("chunked", Answer::Chunked),
                    ("trailers", Answer::Trailers),
                    ("empty", Answer::Empty),
                    ("back", Answer::Back),
                    ("early", Answer::Early),
                    ("events", Answer::Events),
                    ("fails", Answer::Fails),
                    ("error", Answer::Error),
                    ("panic", Answer::Panic),
                    ("never", Answer::Never),
                    ("loop", Answer::Loop),
                    ("upgrade", Answer::Upgrade),
                    ("mute", Answer::Mute),
                ],
            )?,
            status: number("status")?.map(u16::try_from).transpose()?,
            size: usize::try_from(number("size")?.unwrap_or(16))?,
            length: number("length")?,
            id: request.query_value("id").map(Into::into),
            wait: millis("wait")?,
            unstash: request.query_value("unstash").is_some(),
            block: millis("block")?.map(|time| (time, at)),
        })
    }

    /// For how long the destructor at `place` blocks.
    pub(crate) fn block(&self, place: &str) -> Option<Duration> {
        let (time, at) = self.block.as_ref()?;
        (at == place).then_some(*time)
    }
}
