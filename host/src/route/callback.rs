//! Callbacks into plugins that nobody waits for.
//!
//! Owns one thread that is there from the start, because a new one may have to wait for the
//! loader, and behind it at most one thread a generation. Knows nothing of what is told.
//! Invariants: what concerns one generation happens in order, one after the other; a generation
//! that hangs keeps neither the others waiting nor more than [`WAITING_COUNT`] callbacks.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    mem::take,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{ids::Generation, thread::Inbox};

/// Callbacks that wait for one generation; what comes beyond is dropped.
const WAITING_COUNT: usize = 16;

/// Callbacks that wait while the loader holds the thread up; what comes beyond is dropped.
const ARRIVED_COUNT: usize = 1024;

struct Callback {
    about: Generation,
    limit: Duration,
    work: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct News {
    arrived: VecDeque<Callback>,
    /// Whose callback has come back.
    returned: Vec<Generation>,
    ended: bool,
}

impl News {
    fn is_some(&self) -> bool {
        !self.arrived.is_empty() || !self.returned.is_empty() || self.ended
    }
}

/// The handle of the thread; it ends once this is dropped.
pub(super) struct Callbacks {
    inbox: Arc<Inbox<News>>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callbacks")
    }
}

impl Callbacks {
    pub(super) fn start() -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let theirs = inbox.clone();
        let thread = std::thread::Builder::new().name("callbacks".to_owned());
        thread.spawn(move || run(&theirs))?;
        Ok(Self { inbox })
    }

    /// Has `work` done on a thread of its own, after what was put for the same generation before.
    /// Never waits.
    pub(super) fn put(
        &self,
        about: Generation,
        limit: Duration,
        work: impl FnOnce() + Send + 'static,
    ) {
        let callback = Callback { about, limit, work: Box::new(work) };
        self.inbox.tell(|news| {
            if news.arrived.len() < ARRIVED_COUNT {
                news.arrived.push_back(callback);
            } else {
                tracing::warn!(generation = about.0, "the loader is held: it is not told");
            }
        });
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        self.inbox.tell(|news| news.ended = true);
    }
}

/// A generation that is inside a callback.
struct Busy {
    /// `None`: it was said already that it takes too long.
    due: Option<Instant>,
    waiting: VecDeque<Callback>,
}

fn run(inbox: &Arc<Inbox<News>>) {
    let mut busy: BTreeMap<Generation, Busy> = BTreeMap::new();
    loop {
        let due = busy.values().filter_map(|it| it.due).min();
        let news = inbox.wait_until(due, |news| news.is_some().then(|| take(news)));
        let News { arrived, returned, ended } = news.unwrap_or_default();
        if ended {
            return;
        }
        for generation in returned {
            let next = busy.remove(&generation).map(|it| it.waiting).unwrap_or_default();
            begin(inbox, &mut busy, next);
        }
        for callback in arrived {
            let generation = callback.about;
            match busy.get_mut(&generation) {
                None => begin(inbox, &mut busy, VecDeque::from([callback])),
                Some(it) if it.waiting.len() < WAITING_COUNT => it.waiting.push_back(callback),
                Some(_) => {
                    tracing::warn!(
                        generation = generation.0,
                        "it hangs in a callback and is not told of more"
                    );
                }
            }
        }
        let now = Instant::now();
        for (generation, it) in &mut busy {
            if it.due.take_if(|due| *due <= now).is_some() {
                tracing::warn!(
                    generation = generation.0,
                    "its callback has not returned in time: it stays loaded until that returns"
                );
            }
        }
    }
}

/// Begins the first of `waiting`, all of one generation; the others follow when it returns.
fn begin(
    inbox: &Arc<Inbox<News>>,
    busy: &mut BTreeMap<Generation, Busy>,
    mut waiting: VecDeque<Callback>,
) {
    while let Some(Callback { about: generation, limit, work }) = waiting.pop_front() {
        let inbox = inbox.clone();
        let thread = std::thread::Builder::new().name("callback".to_owned()).spawn(move || {
            let _back = Back(inbox, generation);
            work();
        });
        match thread {
            Ok(_) => {
                busy.insert(generation, Busy { due: Instant::now().checked_add(limit), waiting });
                return;
            }
            Err(error) => {
                tracing::error!(generation = generation.0, %error, "no thread for a callback")
            }
        }
    }
}

/// Says that a callback is over, also when a bug of the host broke it off.
struct Back(Arc<Inbox<News>>, Generation);

impl Drop for Back {
    fn drop(&mut self) {
        let generation = self.1;
        self.0.tell(|news| news.returned.push(generation));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, sync_channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn one_that_hangs_delays_nobody_else() {
        let callbacks = Callbacks::start().unwrap();
        let (release, held) = sync_channel::<()>(1);
        let (told, heard) = sync_channel(WAITING_COUNT + 8);
        let limit = Duration::from_millis(1);
        callbacks.put(Generation(1), limit, move || assert!(held.recv().is_err()));
        // More than may wait; the last ones are dropped.
        for number in 0..WAITING_COUNT + 3 {
            let told = told.clone();
            callbacks.put(Generation(1), limit, move || told.send((1, number)).unwrap());
        }
        let other = told.clone();
        callbacks.put(Generation(2), limit, move || other.send((2, 0)).unwrap());
        assert_eq!(heard.recv_timeout(PATIENCE), Ok((2, 0)));
        assert_eq!(heard.try_recv(), Err(TryRecvError::Empty), "the first still hangs");
        drop(release);
        for number in 0..WAITING_COUNT {
            assert_eq!(heard.recv_timeout(PATIENCE), Ok((1, number)), "in order");
        }
        // All that is left is this: what was dropped has dropped its sender.
        drop(told);
        assert!(heard.recv_timeout(PATIENCE).is_err());
    }

    #[test]
    fn what_panics_is_over() {
        let callbacks = Callbacks::start().unwrap();
        let (told, heard) = sync_channel(1);
        callbacks.put(Generation(1), PATIENCE, || panic!("asked to"));
        callbacks.put(Generation(1), PATIENCE, move || told.send(()).unwrap());
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(()));
    }
}
