//! Pairs of sockets that a library's own code has made, and left open.
//!
//! Each copy of tokio opens one for its signals, in a static that nobody drops: two descriptors for
//! each load. What a library's own code (not that of what it calls) asked for, and what still is the
//! same at both ends once it is unmapped, nobody can reach any more, and is closed.
//!
//! Source: socketpair(2); tokio, `src/signal/registry.rs`.

use std::{
    any::Any,
    arch::naked_asm,
    ffi::{c_int, c_void},
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    LibraryId, real,
    registry::{self, Owner},
};

/// What tells an open file from another one of the same number: a device and a number on it.
type Inode = (libc::dev_t, libc::ino_t);

struct Pair {
    library: LibraryId,
    ends: [(RawFd, Inode); 2],
}

struct All {
    pairs: Vec<Pair>,
    /// From how many on it is asked which are still open.
    many: usize,
}

/// So many are kept without a question.
const FEW: usize = 64;

static ALL: Mutex<All> = Mutex::new(All { pairs: Vec::new(), many: FEW });

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

impl Pair {
    fn is_open(&self) -> bool {
        self.ends.iter().all(|(fd, noted)| inode(*fd) == Some(*noted))
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
    if rc == 0
        && !registry::is_empty()
        && let Owner::Plugin(record) = registry::owner(returns_to)
    {
        // SAFETY: two descriptors were written there.
        note(record.id(), unsafe { pair.cast::<[RawFd; 2]>().read_unaligned() });
    }
    rc
}

fn note(library: LibraryId, fds: [RawFd; 2]) {
    let [Some(one), Some(other)] = fds.map(inode) else { return };
    let pair = Pair { library, ends: [(fds[0], one), (fds[1], other)] };
    let mut all = all();
    if all.pairs.len() >= all.many {
        // A library that makes one for each request closes them as well.
        all.pairs.retain(Pair::is_open);
        all.many = (all.pairs.len() * 2).max(FEW);
    }
    all.pairs.push(pair);
}

/// Closes what is left of `library`, which is unmapped. A pair of which one end is closed, or is another
/// one by now, is somebody's: it is left alone.
pub(crate) fn close_left(library: LibraryId) {
    let is_left = |pair: &mut Pair| pair.library == library;
    let left: Vec<_> = all().pairs.extract_if(.., is_left).collect();
    for pair in left.into_iter().filter(Pair::is_open) {
        for (fd, _) in pair.ends {
            // SAFETY: made for a library whose code is gone, and still what it was.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}
