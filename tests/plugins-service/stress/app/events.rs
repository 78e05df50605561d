//! Topics as streams of events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    response::{
        Sse,
        sse::{Event, KeepAlive, KeepAliveStream},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use hotseat_plugin_api::{Draining, Subscription};
use serde::Deserialize;

use super::{Answer, App, failed};

/// Between two comments where there are no events.
const ALIVE: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
pub(super) struct Listen {
    topic: String,
    capacity: usize,
    /// Goes on beyond the drain notice.
    stays: bool,
}

struct Listener {
    subscription: Subscription,
    draining: Option<Draining>,
    is_over: bool,
}

impl Listener {
    /// A message is an event with `missed` as its id; `stop` and the drain notice are the last ones.
    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        let noticed = async {
            match &mut self.draining {
                Some(draining) => draining.await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            message = self.subscription.next() => message,
            () = noticed => {
                self.is_over = true;
                return Some(Event::default().event("drain").data("-"));
            }
        };
        let Some(message) = message else {
            self.is_over = true;
            return Some(Event::default().event("end").data("-"));
        };
        let text = message.text().unwrap_or("no text");
        self.is_over = text == "stop";
        Some(Event::default().id(message.missed().to_string()).event("message").data(text))
    }
}

pub(super) async fn listen(
    State(app): State<Arc<App>>,
    Query(asked): Query<Listen>,
) -> Answer<Sse<KeepAliveStream<impl Stream<Item = Result<Event, Infallible>>>>> {
    let topic = app.context.topic(&asked.topic).map_err(failed)?;
    let subscription = topic.subscribe_with(asked.capacity).map_err(failed)?;
    let draining = (!asked.stays).then(|| app.context.draining());
    let listener = Listener { subscription, draining, is_over: false };
    let ready = stream::iter([Event::default().event("ready").data("-")]);
    let events = stream::unfold(listener, |mut listener| async {
        listener.next().await.map(|event| (event, listener))
    });
    // A client that has closed is noticed by what cannot be sent to it.
    let alive = KeepAlive::new().interval(ALIVE);
    Ok(Sse::new(ready.chain(events).map(Ok)).keep_alive(alive))
}

#[derive(Deserialize)]
pub(super) struct Publish {
    topic: String,
    from: u64,
    count: u64,
    /// Behind them.
    stop: bool,
}

/// Numbers, one a message; how many have heard the first of them, and the last.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Query(asked): Query<Publish>,
) -> Answer<String> {
    let topic = app.context.topic(&asked.topic).map_err(failed)?;
    let mut heard = Vec::new();
    for number in asked.from..asked.from + asked.count {
        heard.push(topic.publish(number.to_string()).map_err(failed)?);
    }
    if asked.stop {
        heard.push(topic.publish("stop").map_err(failed)?);
    }
    let [first, last] = [heard.first(), heard.last()].map(|it| it.copied().unwrap_or_default());
    Ok(format!("{first} {last}"))
}
