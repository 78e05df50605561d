//! The host's threads that may run code of libraries, and how each is asked to purge itself.
//!
//! Owns the list of those threads. A thread registers with a way to reach it; a purge posts a
//! request to each and collects the answers. Knows nothing of what the threads do otherwise.
//!
//! # Invariant
//! A thread-local destructor runs on its own thread only, so a thread that does not answer keeps
//! the library loaded; nothing is ever purged from outside.

use std::{
    any::Any,
    cell::Cell,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
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

/// Has the list until it is dropped, for a fork.
pub(crate) fn hold() -> Box<dyn Any> {
    Box::new(members())
}

/// A registered thread; dropping it, which only that thread can, purges it of every library and leaves.
#[must_use = "the thread leaves when this is dropped"]
#[derive(Debug)]
pub struct Registration {
    member: u64,
    // It belongs to its thread.
    here: PhantomData<*const ()>,
}

thread_local! {
    // Of the last registration of this thread; 0: none. Plain data, so it works to the end.
    static MEMBER: Cell<u64> = const { Cell::new(0) };
}

/// Registers the calling thread, which may run code of libraries from here on.
///
/// `post` hands a request over to this thread without waiting, from any thread; it gives the
/// request back when it cannot (it is asked again later). The thread must run it
/// ([`PurgeRequest::run`]) as soon as no frame of a library is on its stack.
pub fn register_thread(
    name: String,
    post: impl Fn(PurgeRequest) -> Result<(), PurgeRequest> + Send + Sync + 'static,
) -> Registration {
    hooks::ledger::arm();
    let member = NEXT.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current().id();
    members().insert(member, Member { name, thread, post: Arc::new(post) });
    MEMBER.set(member);
    Registration { member, here: PhantomData }
}

impl Drop for Registration {
    fn drop(&mut self) {
        hooks::ledger::purge_everything();
        leave(self.member);
    }
}

/// The calling thread ends, and has purged itself.
pub(crate) fn thread_ends() {
    leave(MEMBER.get());
}

fn leave(member: u64) {
    // Outside the lock: the way to a thread may be anybody's.
    let left = members().remove(&member);
    drop(left);
}

/// One thread's part of a purge, to be run on that thread.
pub struct PurgeRequest {
    library: LibraryId,
    member: u64,
    thread: ThreadId,
    answers: Arc<Answers>,
    is_done: bool,
}

impl PurgeRequest {
    /// Runs what the library left on this thread, then answers. On another thread than the one that it
    /// was posted to it does nothing, and that one is asked again.
    pub fn run(mut self) {
        if self.thread == std::thread::current().id() {
            hooks::purge_thread(self.library);
            self.is_done = true;
        }
    }
}

impl Drop for PurgeRequest {
    /// Dropped without having run, it is offered again at the next look.
    fn drop(&mut self) {
        self.answers.tell(|answers| match self.is_done {
            true => drop(answers.missing.remove(&self.member)),
            false => answers.lost.push(self.member),
        });
    }
}

impl fmt::Debug for PurgeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeRequest").field("library", &self.library).finish_non_exhaustive()
    }
}

type Answers = Inbox<Asked>;

#[derive(Default)]
struct Asked {
    /// Who has not answered yet. A name is kept for each, because the thread may leave meanwhile.
    missing: BTreeMap<u64, String>,
    /// Whose request was given back or dropped.
    lost: Vec<u64>,
}

/// A purge of all threads that is under way.
pub(crate) struct Purge {
    library: LibraryId,
    answers: Arc<Answers>,
}

impl Purge {
    /// Asks every registered thread; the calling one purges itself at once.
    pub(crate) fn begin(library: LibraryId) -> Self {
        hooks::purge_thread(library);
        let answers = Arc::new(Answers::default());
        let here = std::thread::current().id();
        {
            let members = members();
            let others = members.iter().filter(|(_, member)| member.thread != here);
            let others: Vec<_> = others.map(|(at, member)| (*at, member.name.clone())).collect();
            let mut asked = answers.lock();
            asked.lost.extend(others.iter().map(|(at, _)| *at));
            asked.missing.extend(others);
        }
        let purge = Self { library, answers };
        purge.offer();
        purge
    }

    fn offer(&self) {
        let lost = std::mem::take(&mut self.answers.lock().lost);
        for member in lost {
            let known = members().get(&member).map(|it| (it.thread, Arc::clone(&it.post)));
            let Some((thread, post)) = known else {
                // It has left, and purged itself as it did.
                self.answers.lock().missing.remove(&member);
                continue;
            };
            let (library, answers) = (self.library, Arc::clone(&self.answers));
            // What comes back is dropped, and so noted again.
            drop(post(PurgeRequest { library, member, thread, answers, is_done: false }));
        }
    }

    /// The threads that have not answered within `patience`.
    pub(crate) fn missing(&self, patience: Duration) -> Vec<String> {
        let until = Instant::now() + patience;
        loop {
            self.offer();
            // Before the answers' lock: `run` takes that one on a thread that may leave under the other.
            let present: Vec<u64> = members().keys().copied().collect();
            self.answers.lock().missing.retain(|member, _| present.contains(member));
            let left = until.saturating_duration_since(Instant::now());
            self.answers.wait_for(left.min(ASK_AGAIN), |asked| asked.missing.is_empty());
            let asked = self.answers.lock();
            if asked.missing.is_empty() || Instant::now() >= until {
                return asked.missing.values().cloned().collect();
            }
        }
    }
}

/// After this time a thread whose request was given back or lost is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

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
