//! This process: its limits, its memory, the names of signals.
//!
//! Knows nothing of plugins or requests. Every function is safe to call at any time; those that
//! change the process say when they should be.
#![expect(unsafe_code, reason = "mallopt, getsid and _exit are only reachable through libc")]

use std::{
    fs,
    io::{self, Write as _},
    os::fd::OwnedFd,
    thread,
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::signals::without_signals;

/// Ends the process at once. Nothing is written any more: whoever has to say something sees to it
/// that it is out before (`log::flush`).
///
/// A normal end runs the destructors of every library that is still mapped: it waits for the
/// loader's lock, which a plugin's hanging constructor holds for ever, and it runs code of
/// libraries whose threads still run. Source: exit(3), `_dl_fini` in glibc.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Writes `line` to `output` on a thread of its own: nobody may be reading, which is no reason to
/// wait, or not to go on.
pub fn say_aside(output: OwnedFd, line: String) {
    let write = move || {
        if let Err(error) = fs::File::from(output).write_all(line.as_bytes()) {
            tracing::warn!(%error, "not written to standard output: {}", line.trim_end());
        }
    };
    let said = without_signals(|| thread::Builder::new().name("say".to_owned()).spawn(write));
    if let Err(error) = said {
        tracing::warn!(%error, "no thread for a line on standard output");
    }
}

/// Raises the limit of open descriptors to the highest that is allowed; returns it.
///
/// # Errors
/// The system's own; the limit is then what it was.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// The limit of open descriptors as it is.
#[must_use]
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The process that leads the session. `None`: it is outside of this PID namespace.
#[must_use]
pub fn session_leader() -> Option<u32> {
    // SAFETY: only asks.
    let pid = unsafe { libc::getsid(0) };
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// What to do where the system has run out of something; `None`: it has not.
#[must_use]
pub fn shortage(errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::MFILE => format!(
            "all {} descriptors that this process may have are in use: raise `ulimit -n`, or \
             `LimitNOFILE=` in systemd",
            descriptor_limit()
        ),
        Errno::NFILE => {
            "the system has no descriptor left: raise `fs.file-max` with sysctl".to_owned()
        }
        // Of fork(2) and of threads; where reading would wait nobody asks.
        Errno::AGAIN => "no process or thread may be started any more: raise `ulimit -u`, \
                         `TasksMax=` in systemd, or `pids.max` of the container"
            .to_owned(),
        Errno::NOMEM => "there is no memory left: raise `ulimit -v`, `MemoryMax=` in systemd, or \
                         the memory of the container"
            .to_owned(),
        Errno::NOSPC | Errno::DQUOT => "the disk is full: free some space".to_owned(),
        Errno::FBIG => "a file may not be as large: raise `ulimit -f`, or `LimitFSIZE=`".to_owned(),
        _ => return None,
    })
}

/// As [`shortage`], of an error of the standard library, or of a program that may not be run.
#[must_use]
pub fn shortage_of(error: &io::Error) -> Option<String> {
    super::program::remedy_of(error).or_else(|| shortage(Errno::from_io_error(error)?))
}

/// How many of `limit` descriptors one use may have, so that `reserve` are left for all others. Where
/// the reserve would be the greater part, it is half: a process with few still has to do its work.
#[must_use]
pub fn descriptors_beside(reserve: usize, limit: u64) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit - reserve.min(limit / 2)
}

/// Keeps the C allocator from making an arena for each of the many short threads that plugins
/// and loads start: each is 64 MiB of address space and two mappings for good.
///
/// To be called at start, before the first thread.
pub fn bound_arenas(arenas: usize) {
    let arenas = libc::c_int::try_from(arenas).unwrap_or(libc::c_int::MAX);
    // SAFETY: M_ARENA_MAX takes any positive number; a refusal changes nothing.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    // SAFETY: M_MMAP_THRESHOLD takes any number up to half a heap; a refusal changes nothing.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}

/// Larger allocations are given back to the system when they are freed. Without this glibc raises
/// the limit to the largest library that was ever read, and keeps that much. Units: bytes.
const LARGE_BYTES: libc::c_int = 256 << 10;

/// Gives back the pages of code that were needed up to now, and what the allocator keeps.
///
/// For a process that hardly ever runs: what it needs again is read again. Does nothing where that
/// is not possible.
pub fn forget_code() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(mode), Some(offset)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Code, and constants that the loader has changed nothing in: those are at the beginning of
        // a file; what it has changed, and protected afterwards, comes later.
        let unchanged = mode == "r-xp" || mode == "r--p" && offset.bytes().all(|it| it == b'0');
        // Of a file, not the kernel's own.
        if !unchanged || !words.nth(2).is_some_and(|path| path.starts_with('/')) {
            continue;
        }
        let ends = range.split_once('-').and_then(|(from, to)| {
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some((number(from)?, number(to)?))
        });
        let Some((from, to)) = ends else { continue };
        // SAFETY: pages of a file that nobody has written to in memory: the kernel reads them again
        // where they are needed, this very function included.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
    give_back_memory();
}

/// Gives back to the system what the allocator keeps and nobody uses. Takes milliseconds where there
/// is much of it; who allocates meanwhile may have to wait for a part of that.
pub fn give_back_memory() {
    // SAFETY: takes any padding; only frees what nobody uses.
    unsafe { libc::malloc_trim(0) };
}

/// A word that nobody can guess.
#[must_use]
pub fn random_word() -> String {
    let mut bytes = [0_u8; 16];
    // The kernel does not fail for so few bytes, and a word that could be guessed does no harm.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_the_hard_one_afterwards() {
        let raised = raise_descriptor_limit().unwrap();
        assert_eq!(descriptor_limit(), raised);
    }

    #[test]
    fn a_reserve_is_left_and_is_half_at_most() {
        let left = |limit| descriptors_beside(512, limit);
        assert_eq!(
            [u64::MAX, 4096, 1025, 1024, 1023, 256, 1, 0].map(left),
            [usize::MAX - 512, 3584, 513, 512, 512, 128, 1, 0]
        );
    }
}
