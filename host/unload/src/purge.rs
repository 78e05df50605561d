//! The host's threads that may run code of libraries, and how each is asked to purge itself.
//!
//! Owns the list of those threads. A thread registers with a way to reach it; a purge posts a
//! request to each and collects the answers. Knows nothing of what the threads do otherwise.
//!
//! # Invariant
//! A thread-local destructor runs on its own thread only, so a thread that does not answer keeps
//! the library loaded; nothing is ever purged from outside.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::Duration,
};

use crate::{
    hooks::{self, LibraryId},
    thread::Inbox,
};

type Post = Arc<dyn Fn(PurgeRequest) -> Result<(), PurgeRequest> + Send + Sync>;

struct Member {
    name: String,
    thread: ThreadId,
    post: Post,
}

static MEMBERS: Mutex<BTreeMap<u64, Member>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

fn members() -> MutexGuard<'static, BTreeMap<u64, Member>> {
    MEMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registered thread; dropping it on that thread purges the thread of every library and leaves.
#[must_use = "the thread leaves when this is dropped"]
#[derive(Debug)]
pub struct Registration {
    member: u64,
    thread: ThreadId,
}

/// Registers the calling thread, which may run code of libraries from here on.
///
/// `post` hands a request over to this thread without waiting, from any thread; it gives the
/// request back when it cannot (it is asked again later). The thread must run it
/// ([`PurgeRequest::run`]) as soon as no frame of a library is on
/// its stack.
pub fn register_thread(
    name: String,
    post: impl Fn(PurgeRequest) -> Result<(), PurgeRequest> + Send + Sync + 'static,
) -> Registration {
    hooks::ledger::arm();
    let member = NEXT.fetch_add(1, Ordering::Relaxed);
    let thread = std::thread::current().id();
    members().insert(member, Member { name, thread, post: Arc::new(post) });
    Registration { member, thread }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.thread == std::thread::current().id() {
            hooks::ledger::purge_everything();
        }
        members().remove(&self.member);
    }
}

/// One thread's part of a purge, to be run on that thread.
pub struct PurgeRequest {
    library: LibraryId,
    member: u64,
    answers: Arc<Answers>,
}

impl PurgeRequest {
    /// Runs what the library left on this thread, then answers.
    pub fn run(self) {
        hooks::purge_thread(self.library);
        self.answers.tell(|missing| missing.remove(&self.member));
    }
}

impl fmt::Debug for PurgeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeRequest").field("library", &self.library).finish_non_exhaustive()
    }
}

/// Who has not answered yet. A name is kept for each, because the thread may leave meanwhile.
type Answers = Inbox<BTreeMap<u64, String>>;

/// A purge of all threads that is under way.
pub(crate) struct Purge {
    library: LibraryId,
    answers: Arc<Answers>,
    /// Whose `post` gave the request back; it is offered again at each look.
    refused: Vec<PurgeRequest>,
}

impl Purge {
    /// Asks every registered thread; the calling one purges itself at once.
    pub(crate) fn begin(library: LibraryId) -> Self {
        hooks::purge_thread(library);
        let answers = Arc::new(Answers::default());
        let here = std::thread::current().id();
        let asked: Vec<u64> = {
            let members = members();
            let others = members.iter().filter(|(_, member)| member.thread != here);
            let others: Vec<_> = others.map(|(at, member)| (*at, member.name.clone())).collect();
            answers.lock().extend(others.iter().cloned());
            others.into_iter().map(|(at, _)| at).collect()
        };
        let refused = asked
            .into_iter()
            .map(|member| PurgeRequest { library, member, answers: Arc::clone(&answers) })
            .collect();
        let mut purge = Self { library, answers, refused };
        purge.offer();
        purge
    }

    fn offer(&mut self) {
        for request in std::mem::take(&mut self.refused) {
            let post = members().get(&request.member).map(|member| Arc::clone(&member.post));
            match post {
                Some(post) => self.refused.extend(post(request).err()),
                // It has left, and purged itself as it did.
                None => drop(self.answers.lock().remove(&request.member)),
            }
        }
    }

    /// The threads that have not answered within `patience`.
    pub(crate) fn missing(&mut self, patience: Duration) -> Vec<String> {
        self.offer();
        // Before the answers' lock: `run` takes that one on a thread that may leave under the other.
        let present: Vec<u64> = members().keys().copied().collect();
        self.answers.lock().retain(|member, _| present.contains(member));
        self.answers.wait_for(patience, BTreeMap::is_empty);
        self.answers.lock().values().cloned().collect()
    }
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("library", &self.library).finish_non_exhaustive()
    }
}

/// Purges every registered thread, and the calling one, of `library`.
///
/// # Errors
/// The names of the threads that did not answer within `time`. They still will, as soon as they
/// can; until then the library must stay.
pub fn purge_all(library: LibraryId, time: Duration) -> Result<(), Vec<String>> {
    let missing = Purge::begin(library).missing(time);
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

#[cfg(test)]
mod tests;
