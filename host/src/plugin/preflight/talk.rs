//! The parent's side of the conversation: feeds the child, listens, and stops at the deadline.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    process::ChildStdin,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fd::OwnedFd,
};

use super::{
    Trial,
    wire::{Line, Said, Stage},
};

/// How much of the child's stderr is kept: its end. Units: bytes.
const OUTPUT_BYTES: usize = 4096;
/// A verdict is far smaller; more than this without a line's end is nonsense. Units: bytes.
const LINE_BYTES: usize = 256 << 10;

/// Everything that came of the conversation.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) verdict: Option<Line>,
    /// The last step that began.
    pub(super) stage: Stage,
    /// The child ended by itself.
    pub(super) exited: bool,
    /// It said something that is no line of ours.
    pub(super) garbled: bool,
    /// The end of its stderr.
    pub(super) output: String,
}

/// Talks to the child until it has given its verdict, ended, or run out of time.
pub(super) fn talk(trial: &mut Trial, request: &str, nonce: &str, deadline: Instant) -> Heard {
    let Trial { child, pidfd } = trial;
    let mut stdin = child.stdin.take().map(|pipe| Feed { pipe, left: request.as_bytes() });
    let mut stdout = child.stdout.take().and_then(Ear::new);
    let mut stderr = child.stderr.take().and_then(Ear::new);
    let mut heard = Heard {
        verdict: None,
        stage: Stage::Setup,
        exited: false,
        garbled: false,
        output: String::new(),
    };
    if let Some(feed) = &stdin {
        // Without it a child that never reads could block us; then nothing is fed.
        if rustix::io::ioctl_fionbio(&feed.pipe, true).is_err() {
            stdin = None;
        }
    }
    loop {
        // The exit is looked at first: what is read after it is all that there ever will be.
        heard.exited = wait(pidfd, [&stdout, &stderr], stdin.as_ref(), deadline);
        stdin = stdin.and_then(Feed::push);
        if let Some(ear) = &mut stdout {
            ear.listen();
            heard.take_lines(&mut ear.heard, nonce);
        }
        if let Some(ear) = &mut stderr {
            ear.listen();
            heard.keep_tail(&mut ear.heard);
        }
        let over = Instant::now() >= deadline;
        if heard.verdict.is_some() || heard.garbled || heard.exited || over {
            return heard;
        }
    }
}

/// Waits until something can be done; whether the child has ended.
fn wait(
    pidfd: &OwnedFd,
    ears: [&Option<Ear>; 2],
    feed: Option<&Feed<'_>>,
    deadline: Instant,
) -> bool {
    let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
    let open = ears.into_iter().flatten().filter(|ear| ear.open);
    fds.extend(open.map(|ear| PollFd::new(&ear.pipe, PollFlags::IN)));
    fds.extend(feed.map(|feed| PollFd::new(&feed.pipe, PollFlags::OUT)));
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    // An interrupted wait only means another round.
    let _ = rustix::event::poll(&mut fds, left.as_ref());
    !fds[0].revents().is_empty()
}

/// The request on its way into the child's stdin.
struct Feed<'a> {
    pipe: ChildStdin,
    left: &'a [u8],
}

impl Feed<'_> {
    /// Writes what fits; `None` when all is written or the child does not read any more.
    fn push(mut self) -> Option<Self> {
        match self.pipe.write(self.left) {
            Ok(n) => self.left = &self.left[n..],
            Err(error) if retry(&error) => return Some(self),
            Err(_) => return None,
        }
        (!self.left.is_empty()).then_some(self)
    }
}

fn retry(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// One of the child's outputs.
struct Ear {
    pipe: File,
    heard: Vec<u8>,
    /// Not at its end yet.
    open: bool,
}

impl Ear {
    fn new(pipe: impl Into<OwnedFd>) -> Option<Self> {
        let pipe = File::from(pipe.into());
        rustix::io::ioctl_fionbio(&pipe, true).ok()?;
        Some(Self { pipe, heard: Vec::new(), open: true })
    }

    /// Reads what is there.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        // A child that never stops talking must not hold us in this loop.
        while self.open && self.heard.len() <= LINE_BYTES {
            match self.pipe.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
                Err(error) if retry(&error) => return,
                Err(_) => self.open = false,
            }
        }
    }
}

impl Heard {
    fn take_lines(&mut self, heard: &mut Vec<u8>, nonce: &str) {
        while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = heard.drain(..=end).collect();
            match serde_json::from_slice::<Said>(&line) {
                Ok(Said { nonce: theirs, line }) if theirs == nonce => match line {
                    Line::Stage(stage) => self.stage = stage,
                    verdict @ (Line::Passed { .. } | Line::Refused { .. }) => {
                        self.verdict = Some(verdict);
                        return;
                    }
                },
                Ok(_) | Err(_) => self.garbled = true,
            }
        }
        self.garbled |= heard.len() > LINE_BYTES;
    }

    fn keep_tail(&mut self, heard: &mut Vec<u8>) {
        self.output.push_str(&String::from_utf8_lossy(heard));
        heard.clear();
        let over = self.output.len().saturating_sub(OUTPUT_BYTES);
        let mut from = over;
        while !self.output.is_char_boundary(from) {
            from += 1;
        }
        self.output.drain(..from);
    }
}
