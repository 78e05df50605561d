//! The child shuts itself in before the candidate is opened.
//!
//! This keeps accidents small; it is no sandbox, as a plugin is trusted native code.
#![expect(unsafe_code, reason = "rearranges the standard descriptors")]

use std::{
    ffi::c_int,
    fs::File,
    io::{self, BufRead, Read, Write},
    mem::ManuallyDrop,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions};

use crate::{
    plugin::preflight::wire::{Line, Request, Said, Stage},
    sys::keep,
};

/// Where the verdict's pipe is moved to. Every descriptor above is closed.
const VOICE_FD: c_int = 3;
/// Enough for a plugin that opens a pool of connections in `new`; small enough that a leak shows.
const DESCRIPTORS_MAX: u64 = 1024;

/// The private way to the parent.
pub(super) struct Voice {
    /// Never closed by us: the candidate may have done so, and a second close would abort.
    pipe: ManuallyDrop<File>,
    nonce: String,
    pid: Pid,
}

impl Voice {
    /// Says one line; a forked copy of this process ends here instead.
    pub(super) fn say(&self, line: Line) -> io::Result<()> {
        if rustix::process::getpid() != self.pid {
            // SAFETY: ends this process at once, without running anything of the candidate.
            unsafe { libc::_exit(0) };
        }
        let said = Said { nonce: self.nonce.clone(), line };
        let mut text = serde_json::to_string(&said)?;
        text.push('\n');
        (&*self.pipe).write_all(text.as_bytes())
    }

    /// Tells what is tried next. Only a crash's text suffers when it cannot be told.
    pub(super) fn stage(&self, stage: Stage) {
        let _ = self.say(Line::Stage(stage));
    }
}

/// Rearranges descriptors, and ties this process to its parent; the way to that.
pub(super) fn enter() -> io::Result<File> {
    keep::begin_anew();
    let pipe = take_descriptors()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // What the candidate forks becomes our child even when its own parent ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(pipe)
}

/// Takes the self-test of the parent for our own, which would take as long as to load a library.
pub(super) fn believe() {
    // SAFETY: the parent, which says that it has passed, is this very executable, and gives us the
    // environment that it was started with.
    unsafe { hotseat_unload::spare_self_test() };
}

/// Waits for the request, and sets the limits.
pub(super) fn receive(pipe: File) -> io::Result<(Voice, Request)> {
    let request = read_request()?;
    // The parent may have died before it could take this process along.
    let parent = rustix::process::getppid().map(Pid::as_raw_pid);
    if parent != i32::try_from(request.parent).ok() {
        return Err(io::Error::other("the parent is gone"));
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(request.umask));
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, request.cpu)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    let voice = Voice {
        pipe: ManuallyDrop::new(pipe),
        nonce: request.nonce.clone(),
        pid: rustix::process::getpid(),
    };
    Ok((voice, request))
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let value = maximum.map_or(value, |maximum| maximum.min(value));
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Moves stdout to a descriptor of our own, puts stderr in its place, and closes all others.
fn take_descriptors() -> io::Result<File> {
    // SAFETY: nothing of this process uses descriptor 3 yet.
    check(unsafe { libc::dup3(libc::STDOUT_FILENO, VOICE_FD, libc::O_CLOEXEC) })?;
    // SAFETY: open since the line above, and owned by nobody else.
    let pipe = File::from(unsafe { OwnedFd::from_raw_fd(VOICE_FD) });
    // SAFETY: at this point of the process nothing owns a descriptor above.
    check(unsafe { libc::close_range(4, libc::c_uint::MAX, 0) })?;
    // SAFETY: what is printed goes to the parent's log from here on.
    check(unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) })?;
    Ok(pipe)
}

fn check(rc: c_int) -> io::Result<()> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One line from stdin, which is empty for the candidate.
fn read_request() -> io::Result<Request> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text)?;
    let nothing = File::open("/dev/null")?;
    // SAFETY: the request is read, and nobody else reads stdin.
    check(unsafe { libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO) })?;
    Ok(serde_json::from_str(&text)?)
}

/// Kills every process that the candidate left behind; whether there was one.
pub(super) fn end_children() -> bool {
    let mut found = false;
    // Killed children hand their own over to us, so look until none is left; the bound is for a
    // candidate that forks faster than it is killed.
    for _ in 0..64 {
        match rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Err(_) => return found,
            Ok(_) => found = true,
        }
        for child in children() {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
    }
    found
}

fn children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let mut list = String::new();
    for thread in threads.flatten() {
        // A thread that has ended has no children.
        let file = File::open(thread.path().join("children"));
        let _ = file.and_then(|mut file| file.read_to_string(&mut list));
        list.push(' ');
    }
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
