//! Pairs of sockets that a library's own code has made, and left open.
//!
//! Each copy of tokio opens one for its signals, in a static that nobody drops: two descriptors for
//! each load. What a library's own code (not that of what it calls) asked for, and what still is the
//! same at both ends once it is unmapped, nobody can reach any more by an address; by its number others
//! may (a stream of the C library's that the library has left open writes to it, and then to whoever
//! has that number). So only what looks like tokio's is closed: non-blocking, and closed in programs
//! that are started, from its making on.
//!
//! Source: socketpair(2); tokio, `src/signal/registry.rs`; mio, `src/sys/unix/uds`.

use std::{
    any::Any,
    arch::naked_asm,
    ffi::{c_int, c_void},
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::{LibraryId, object, real, registry};

/// What tells an open file from another one of the same number: a device and a number on it.
type Inode = (libc::dev_t, libc::ino_t);

/// Every byte of it is written, also of one that is over: what a stack held before would look to the
/// census like somebody who keeps an address.
#[derive(Clone, Copy)]
struct Pair {
    /// 0: none.
    library: u32,
    fds: [RawFd; 2],
    _unused: u32,
    inodes: [Inode; 2],
}

const _: () = assert!(size_of::<Pair>() == 4 * size_of::<u32>() + 2 * size_of::<Inode>());

/// Pairs that are noted at one time: one for each copy of tokio. One beyond them stays open.
const PLACES: usize = 256;

/// Of a fixed size: a signal handler may make a pair, where nothing can be allocated.
type All = [Pair; PLACES];

static ALL: Mutex<All> = Mutex::new([Pair::NONE; PLACES]);

fn all() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the list until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(all())
}

fn inode(fd: RawFd) -> Option<Inode> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: writes to the place, or fails: nobody has to have the descriptor.
    let rc = unsafe { libc::fstat(fd, found.as_mut_ptr()) };
    // SAFETY: it was written where that did not fail.
    (rc == 0).then(|| unsafe { found.assume_init_ref() }).map(|it| (it.st_dev, it.st_ino))
}

/// As tokio makes them. Source: mio.
const KIND: c_int = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// Whether it is as it was made: neither read by a function that waits, nor meant for a program that
/// is started.
fn is_of_kind(fd: RawFd) -> bool {
    // SAFETY: two questions that fail where nobody has the descriptor.
    let (status, flags) =
        unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
    let has = |found: c_int, flag: c_int| found != -1 && found & flag != 0;
    has(status, libc::O_NONBLOCK) && has(flags, libc::FD_CLOEXEC)
}

impl Pair {
    const NONE: Self = Self { library: 0, fds: [-1; 2], _unused: 0, inodes: [(0, 0); 2] };

    fn is_open(&self) -> bool {
        let mut ends = self.fds.iter().zip(&self.inodes);
        ends.all(|(fd, noted)| inode(*fd) == Some(*noted))
    }

    fn is_left(&self) -> bool {
        self.is_open() && self.fds.iter().all(|fd| is_of_kind(*fd))
    }
}

/// Interposes the making of a pair: goes on with the return address behind the arguments.
///
/// # Safety
/// As for the function of that name.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("endbr64", "mov r8, [rsp]", "jmp {make}", make = sym make);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("hint #34", "mov x4, x30", "b {make}", make = sym make);
}

unsafe extern "C" fn make(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
    returns_to: *const c_void,
) -> c_int {
    let Some(real) = real::socketpair() else { return -1 };
    // SAFETY: the caller's arguments, unchanged.
    let rc = unsafe { real(domain, kind, protocol, pair) };
    // It may be called in a signal handler: nothing here waits or allocates.
    if rc == 0
        && (domain, kind) == (libc::AF_UNIX, KIND)
        && let Some(library) = object::find(returns_to).and_then(|it| registry::library_of(&it))
    {
        // SAFETY: two descriptors were written there.
        note(library, unsafe { pair.cast::<[RawFd; 2]>().read_unaligned() });
    }
    rc
}

fn note(library: LibraryId, fds: [RawFd; 2]) {
    let [Some(one), Some(other)] = fds.map(inode) else { return };
    let pair = Pair { library: library.0, fds, _unused: 0, inodes: [one, other] };
    let mut all = match ALL.try_lock() {
        Ok(all) => all,
        Err(TryLockError::Poisoned(error)) => error.into_inner(),
        // Perhaps by what this handler has interrupted.
        Err(TryLockError::WouldBlock) => return,
    };
    // A library that makes one for each request closes them as well.
    let free = all.iter().position(|it| it.library == 0);
    if let Some(at) = free.or_else(|| all.iter().position(|it| !it.is_open())) {
        all[at] = pair;
    }
}

/// Closes what is left of `library`, which is unmapped. A pair of which one end is closed, or is another
/// one by now, is somebody's: it is left alone.
pub(crate) fn close_left(library: LibraryId) {
    let its = |pair: &&mut Pair| pair.library == library.0;
    let take = |pair: &mut Pair| std::mem::replace(pair, Pair::NONE);
    let left: Vec<_> = all().iter_mut().filter(its).map(take).collect();
    for pair in left.into_iter().filter(Pair::is_left) {
        for fd in pair.fds {
            // SAFETY: made for a library whose code is gone, and still what it was.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use super::*;
    use crate::hooks::tests::Played;

    /// As in a signal handler, which may have interrupted whoever has the books.
    #[test]
    fn a_pair_waits_for_no_lock() {
        let played = Played::start();
        let from = played.address.addr();
        let held = [hold(), registry::hold()];
        let (made, is_made) = channel();
        thread::spawn(move || {
            let mut pair = [-1; 2];
            let returns_to = std::ptr::without_provenance(from);
            // SAFETY: room for two descriptors.
            let rc = unsafe { make(libc::AF_UNIX, KIND, 0, pair.as_mut_ptr(), returns_to) };
            // The test may be over.
            let _ = made.send((rc, pair));
        });
        let answer = is_made.recv_timeout(Duration::from_secs(20));
        drop(held);
        let (rc, pair) = answer.expect("it waits for nobody");
        assert_eq!(rc, 0);
        // SAFETY: made above, and nobody else's.
        drop(pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        assert!(all().iter().all(|it| it.library != played.record.id().0), "not noted");
    }
}
