//! What happened, one line an order, an upgrade, an end of a worker, on disk and in memory.
//!
//! Owns `history.jsonl` and `history.1.jsonl`. Decides nothing: a host boots without it.
//! Invariants: a line is one write(2) at the end of the file; a torn line spoils only itself; both
//! files together hold no more lines than the limit. Whoever asks for what is in memory waits for
//! no file system: who writes has the pen, and what is known is held for moments.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::wire::{from_ms, to_ms};
use crate::{
    error::Coded as _,
    ids::{Digest, Generation, Label, Peer, PluginName},
    status::Heap,
    sys::{path::PathError, start::give_mode},
};

/// How one order ended, or what else was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the history: counts up, given by [`History::append`].
    pub line: u64,
    /// When it ended.
    pub at: SystemTime,
    /// Its number, as in `/v1/deploys`; 0 for what was no order.
    pub order: u64,
    /// Who asked: `control`, `folder`, `signal`, `crash`, `reload` (of settings), or `host` where
    /// nobody did.
    pub source: String,
    /// The process that asked, as far as known.
    pub by: Option<Peer>,
    /// `deploy`, `rollback`, `unload`, `reload`, `withdraw`, `upgrade`, `lame_duck`, `worker`, `start`
    /// or `stop`.
    pub verb: String,
    /// What was named; only orders have it, since their numbers are given once.
    pub subject: Option<String>,
    /// Whom it concerned, as far as known.
    pub plugin: Option<PluginName>,
    /// The label, as far as known.
    pub label: Option<Label>,
    /// The content, as far as known.
    pub digest: Option<Digest>,
    /// The generation that it made.
    pub generation: Option<Generation>,
    /// A rollback's origin.
    pub from: Option<Generation>,
    /// `swapped`, `already_serves`, `rolled_back`, `unloaded`, or a refusal's code.
    pub outcome: String,
    /// The line that was answered.
    pub text: String,
    /// From the order leaving the queue to its end. Units: milliseconds.
    pub ms: u64,
    /// The heap of what left traffic with it, as it was then.
    pub left_heap: Option<Heap>,
}

impl Entry {
    /// Whether both are about the same end, as far as a line on the disk keeps it.
    #[must_use]
    pub fn tells_the_same(&self, other: &Self) -> bool {
        let of = |it: &Self| (to_ms(it.at), it.order, it.generation);
        let words = |it: &Self| [&it.source, &it.verb, &it.outcome, &it.text].map(String::clone);
        of(self) == of(other) && words(self) == words(other)
    }

    /// What was no order: of no plugin, and done in no time.
    #[must_use]
    pub fn of_host(source: &str, verb: &str, outcome: &str, text: impl Into<String>) -> Self {
        let (line, order, ms) = (0, 0, 0);
        let (by, subject, plugin, label) = Default::default();
        let (digest, generation, from, left_heap) = Default::default();
        let [source, verb, outcome] = [source, verb, outcome].map(ToOwned::to_owned);
        let (at, text) = (SystemTime::now(), text.into());
        Self {
            line,
            at,
            order,
            source,
            by,
            verb,
            subject,
            plugin,
            label,
            digest,
            generation,
            from,
            outcome,
            text,
            ms,
            left_heap,
        }
    }
}

/// Every release needs the seven fields that are always there, and passes over those it does not
/// know.
#[derive(Serialize, Deserialize)]
struct WireEntry {
    at_ms: u64,
    order: u64,
    source: String,
    verb: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    outcome: String,
    text: String,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_heap: Option<Heap>,
}

/// The history of one host. Shared by reference; every method may be called from any thread.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    rotated: PathBuf,
    /// Lines of one of the two files.
    half_count: usize,
    memory_count: usize,
    /// Taken before what is known, by whoever adds to it.
    pen: Mutex<Pen>,
    /// Held across no call of a file system.
    known: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Pen {
    file: Option<File>,
    lines: usize,
    /// The last line has no end: the next one must not be glued to it.
    torn: bool,
}

/// Lines that are asked for and not in memory: so many, before that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    count: usize,
    before: u64,
}

/// What was read of the files.
#[derive(Debug, Default)]
struct Read {
    /// Newest first.
    recent: VecDeque<Entry>,
    /// At most so many of them.
    count: usize,
    /// Only of lines before this one.
    before: Option<u64>,
    /// The place of the last line.
    last: u64,
    /// The highest number of an order.
    order_max: u64,
}

impl History {
    /// Reads what is there. At most `disk_count` lines are kept on disk, and the newest
    /// `memory_count` in memory. An unreadable line is skipped.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(folder: &Path, disk_count: usize, memory_count: usize) -> Result<Self, PathError> {
        let history = Self::unread(folder, disk_count, memory_count);
        history.reload()?;
        Ok(history)
    }

    /// One that forgets what is in the files, for a host that cannot read them.
    #[must_use]
    pub fn unread(folder: &Path, disk_count: usize, memory_count: usize) -> Self {
        let path = folder.join("history.jsonl");
        let rotated = folder.join("history.1.jsonl");
        let half_count = (disk_count / 2).max(1);
        let known = Mutex::new(Read::newest(memory_count));
        Self { path, rotated, half_count, memory_count, pen: Mutex::default(), known }
    }

    /// Writes what is in memory to a folder that has lost its files.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn write_again(&self) -> Result<(), PathError> {
        self.try_write_again().map_err(|error| self.failed("write the history", error))
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> PathError {
        PathError::new(doing, &self.path, "--state-dir", error)
    }

    fn try_write_again(&self) -> io::Result<()> {
        let mut pen = self.pen();
        pen.file = None;
        if fs::exists(&self.path)? {
            // Of a folder that was there before: what follows is appended.
            return Ok(());
        }
        let recent = self.read(usize::MAX);
        let lines: Vec<u8> = recent.iter().rev().flat_map(encode).collect();
        let mut file = open(&self.path)?;
        file.write_all(&lines)?;
        *pen = Pen { file: Some(file), lines: recent.len(), torn: false };
        Ok(())
    }

    /// Whether the file that lines are added to is still the one of that name. Waits for no writer.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let Ok(pen) = self.pen.try_lock() else { return true };
        let Some(Ok(open)) = pen.file.as_ref().map(File::metadata) else { return true };
        drop(pen);
        fs::metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == (open.dev(), open.ino()))
    }

    /// Adds a line. It is in memory also when the disk fails.
    ///
    /// # Errors
    /// When the line is not on the disk; the host goes on without it.
    pub fn append(&self, entry: Entry) -> Result<(), PathError> {
        self.try_append(entry).map_err(|error| self.failed("write the history", error))
    }

    fn try_append(&self, entry: Entry) -> io::Result<()> {
        let mut pen = self.pen();
        let mut line = if pen.torn { b"\n".to_vec() } else { Vec::new() };
        let mut known = self.known();
        let entry = Entry { line: known.last + 1, ..entry };
        line.extend(encode(&entry));
        known.take(entry);
        drop(known);
        if pen.lines >= self.half_count {
            // The open file goes with its name; a failure below leaves the next append a new try.
            pen.file = None;
            match fs::rename(&self.path, &self.rotated) {
                // Somebody has removed it: there is nothing to keep.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            pen.lines = 0;
            pen.torn = false;
        }
        if pen.file.is_none() {
            pen.file = Some(open(&self.path)?);
        }
        let Some(file) = &mut pen.file else { return Ok(()) };
        let written = file.write(&line);
        pen.torn = written.as_ref().is_ok_and(|count| *count < line.len());
        pen.lines += 1;
        match written {
            Ok(count) if count < line.len() => Err(io::ErrorKind::WriteZero.into()),
            other => other.map(|_| ()),
        }
    }

    /// Reads again what another process has written to the files meanwhile.
    ///
    /// # Errors
    /// When the file cannot be read; what was known is kept then.
    pub fn reload(&self) -> Result<(), PathError> {
        self.try_reload().map_err(|error| self.failed("read the history", error))
    }

    fn try_reload(&self) -> io::Result<()> {
        let mut pen = self.pen();
        let mut read = Read::newest(self.memory_count);
        read.file(find(&self.rotated)?)?;
        let (lines, torn) = read.file(find(&self.path)?)?;
        // Opened when there is something to write.
        *pen = Pen { file: None, lines, torn };
        *self.known() = read;
        Ok(())
    }

    /// The newest lines of those in memory, newest first, at most `limit`.
    #[must_use]
    pub fn read(&self, limit: usize) -> Vec<Entry> {
        self.known().recent.iter().take(limit).cloned().collect()
    }

    /// The newest lines before the line `before`, newest first, at most `limit`, as far as they are
    /// in memory; and where to go on, if there may be more.
    #[must_use]
    pub fn page(&self, limit: usize, before: Option<u64>) -> (Vec<Entry>, Option<Older>) {
        let known = self.known();
        let wanted = |it: &&Entry| before.is_none_or(|before| it.line < before);
        let page: Vec<_> = known.recent.iter().filter(wanted).take(limit).cloned().collect();
        let oldest = known.recent.back().map(|entry| entry.line).filter(|oldest| *oldest > 1);
        let older = oldest.filter(|_| page.len() < limit).map(|oldest| Older {
            count: limit - page.len(),
            before: before.map_or(oldest, |before| before.min(oldest)),
        });
        (page, older)
    }

    /// Lines behind those in memory, newest first, as far as the disk can be read. May wait for it.
    #[must_use]
    pub fn older(&self, Older { count, before }: Older) -> Vec<Entry> {
        let mut older = Read { count, before: Some(before), ..Read::default() };
        let read = self
            .files()
            .and_then(|files| files.into_iter().try_for_each(|file| older.file(file).map(|_| ())));
        if let Err(error) = read {
            let error = self.failed("read the history", error);
            tracing::warn!(%error, hint = error.hint(), "the history is not shown to its begin");
        }
        older.recent.into()
    }

    /// How the order of this number ended, as far as memory knows; or where that may stand. Of hosts
    /// that began again with 1 nothing is said.
    ///
    /// # Errors
    /// [`Older`]: it may be among these.
    pub fn order(&self, number: u64) -> Result<Option<Entry>, Older> {
        if number == 0 || number > self.order_max() {
            return Ok(None);
        }
        let (recent, older) = self.page(usize::MAX, None);
        match (recent.into_iter().find(|it| is_order(it, number)), older) {
            (None, Some(older)) => Err(older),
            (known, _) => Ok(known),
        }
    }

    /// How the order of this number ended, if that stands there. May wait for the disk.
    #[must_use]
    pub fn order_among(&self, older: Older, number: u64) -> Option<Entry> {
        self.older(older).into_iter().find(|it| is_order(it, number))
    }

    /// The highest number that an order had; 0: none.
    #[must_use]
    pub fn order_max(&self) -> u64 {
        self.known().order_max
    }

    /// Both files, the older one first.
    fn files(&self) -> io::Result<[Option<File>; 2]> {
        let newer = find(&self.path)?;
        let older = find(&self.rotated)?;
        let id = |file: &Option<File>| -> io::Result<_> {
            Ok(file.as_ref().map(File::metadata).transpose()?.map(|it| (it.dev(), it.ino())))
        };
        // It was rotated in between: one file, which is not to be read twice.
        let is_one = older.is_some() && id(&newer)? == id(&older)?;
        Ok([older.filter(|_| !is_one), newer])
    }

    fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Read> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_order(entry: &Entry, number: u64) -> bool {
    entry.order == number && entry.subject.is_some()
}

/// The file at `path`, if there is one.
fn find(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    give_mode(&file, 0o600)?;
    Ok(file)
}

/// Rows for which there is room from the beginning: a row of rows that grows step by step leaves the
/// smaller ones behind.
const ROOM_COUNT: usize = 1024;

impl Read {
    /// Nothing yet, of which the newest `count` lines are kept.
    fn newest(count: usize) -> Self {
        let recent = VecDeque::with_capacity(count.min(ROOM_COUNT));
        Self { recent, count, ..Self::default() }
    }

    /// Reads the lines of one file; gives their number and whether the last has no end.
    fn file(&mut self, file: Option<File>) -> io::Result<(usize, bool)> {
        let Some(file) = file else { return Ok((0, false)) };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut lines = 0;
        let mut torn = false;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok((lines, torn));
            }
            lines += 1;
            torn = !line.ends_with(b"\n");
            if let Some(entry) = decode(&line, self.last) {
                self.take(entry);
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        self.last = self.last.max(entry.line);
        self.order_max = self.order_max.max(entry.order);
        if self.count > 0 && self.before.is_none_or(|before| entry.line < before) {
            // Room is made first, so that no more of it is ever needed.
            self.recent.truncate(self.count.saturating_sub(1));
            self.recent.push_front(entry);
        }
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let wire = WireEntry {
        at_ms: to_ms(entry.at),
        order: entry.order,
        source: entry.source.clone(),
        verb: entry.verb.clone(),
        plugin: entry.plugin.as_ref().map(ToString::to_string),
        label: entry.label.as_ref().map(|label| label.as_str().to_owned()),
        sha256: entry.digest.as_ref().map(ToString::to_string),
        generation: entry.generation.map(|generation| generation.0),
        from: entry.from.map(|generation| generation.0),
        outcome: entry.outcome.clone(),
        text: entry.text.clone(),
        ms: entry.ms,
        line: Some(entry.line),
        subject: entry.subject.clone(),
        pid: entry.by.map(|by| by.pid),
        uid: entry.by.map(|by| by.uid),
        left_heap: entry.left_heap,
    };
    let mut line = serde_json::to_vec(&wire).expect("only numbers and texts");
    line.push(b'\n');
    line
}

/// A line of a release that did not count them has its place behind `last`.
fn decode(line: &[u8], last: u64) -> Option<Entry> {
    let wire: WireEntry = serde_json::from_slice(line).ok()?;
    Some(Entry {
        line: wire.line.unwrap_or(last + 1),
        by: wire.pid.zip(wire.uid).map(|(pid, uid)| Peer { pid, uid }),
        subject: wire.subject,
        at: from_ms(wire.at_ms),
        order: wire.order,
        source: wire.source,
        verb: wire.verb,
        plugin: wire.plugin.and_then(|text| text.parse().ok()),
        label: wire.label.and_then(|text| text.parse().ok()),
        digest: wire.sha256.and_then(|text| text.parse().ok()),
        generation: wire.generation.map(Generation),
        from: wire.from.map(Generation),
        outcome: wire.outcome,
        text: wire.text,
        ms: wire.ms,
        left_heap: wire.left_heap,
    })
}

#[cfg(test)]
mod tests;
