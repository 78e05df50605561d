//! Whoever reads the host's log: a named pipe, so that a reader can go and another one come.
//!
//! Owns the pipe's reading end. What is read goes to a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use hotseat_test_support::patience::breathe;
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat},
    pipe::fcntl_setpipe_size,
};

/// Small, so that it is soon full. Units: bytes.
const PIPE: usize = 4096;
const LOOK: Duration = Duration::from_millis(5);

/// What the reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reads {
    All,
    Nothing,
    Away,
    Ended,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    pipe: PathBuf,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

fn open(pipe: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(pipe)?;
    fcntl_setpipe_size(&file, PIPE)?;
    Ok(file)
}

impl Reader {
    /// Reads from `folder/log.pipe` to `log`.
    pub(crate) fn start(folder: &Path, log: &Path) -> anyhow::Result<Self> {
        let pipe = folder.join("log.pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR)?;
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let state = Arc::new(AtomicU8::new(Reads::All as u8));
        let (theirs, path) = (state.clone(), pipe.clone());
        let thread = std::thread::spawn(move || read(&path, file, &theirs));
        Ok(Self { pipe, state, thread: Some(thread) })
    }

    /// A writing end; there is a reader while it is opened, if no longer.
    pub(crate) fn writer(&self) -> io::Result<File> {
        let _reader = open(&self.pipe)?;
        OpenOptions::new().write(true).open(&self.pipe)
    }

    /// From now on.
    pub(crate) fn turn(&self, reads: Reads) {
        self.state.store(reads as u8, SeqCst);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.turn(Reads::Ended);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            println!("log       cannot be read: {error}");
        }
    }
}

fn read(pipe: &Path, mut log: File, state: &AtomicU8) -> io::Result<()> {
    let mut end = None;
    let mut bytes = [0; 16 << 10];
    loop {
        let now = state.load(SeqCst);
        if now == Reads::Nothing as u8 {
            breathe(LOOK);
            continue;
        }
        if now == Reads::Away as u8 {
            end = None;
            breathe(LOOK);
            continue;
        }
        let file = match &mut end {
            Some(file) => file,
            none => none.insert(open(pipe)?),
        };
        match file.read(&mut bytes) {
            Ok(count) if count > 0 => log.write_all(&bytes[..count])?,
            // Nobody writes, or nothing is there.
            Ok(_) => breathe(LOOK),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => breathe(LOOK),
            Err(error) => return Err(error),
        }
        if now == Reads::Ended as u8 {
            // The rest was read.
            return Ok(());
        }
    }
}
