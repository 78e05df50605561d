//! What a host in one process has left of its end, for the next one.
//!
//! Owns the file `last-words` in the state folder: a page for notes (`sys::fault`), which outlives
//! the process that writes into it, and the last ends that a plugin was blamed for. No master is
//! there to keep either. Invariant: what is written here is advice; a host starts without it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::OFlags;

use hotseat_unload::running_tag;

use crate::{
    config::Limits,
    deploy::Withdrawal,
    ids::PluginName,
    log,
    state::history::Entry,
    sys::{
        fault::{self, LastWords, PAGE_BYTES, Work},
        start::give_mode,
    },
};

/// Where the ends before the last one begin, far behind the note. Units: bytes.
const ENDS_AT: usize = 1024;
/// Ends that are remembered.
const ENDS_COUNT: usize = 64;
/// A generation and a time. Units: bytes.
const END_BYTES: usize = 16;

const _: () = assert!(ENDS_AT + ENDS_COUNT * END_BYTES <= PAGE_BYTES);

/// An end that a generation was blamed for. Units: milliseconds since the epoch.
type End = (u64, u64);

/// Reads what the process before has left in `state`, and has this one leave it there; what it is to
/// take out of traffic, and what it is to write down.
pub(super) fn take_up(state: &Path, limits: &Limits) -> (Vec<Withdrawal>, Vec<Entry>) {
    match try_take_up(state, limits) {
        Ok((withdraw, lost)) => (withdraw.into_iter().collect(), lost.into_iter().collect()),
        Err(error) => {
            tracing::warn!(%error, "the next process will not know what has ended this one");
            Default::default()
        }
    }
}

fn try_take_up(state: &Path, limits: &Limits) -> io::Result<(Option<Withdrawal>, Option<Entry>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(state.join("last-words"))?;
    give_mode(&file, 0o600)?;
    let words = fault::read(&file);
    let mut ends = read_ends(&file);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let withdraw = judge(&words, &mut ends, now, limits);
    // Whole, so that no note meets a full disk.
    let mut page = vec![0; PAGE_BYTES];
    for (place, (generation, at)) in page[ENDS_AT..].chunks_exact_mut(END_BYTES).zip(ends) {
        place[..8].copy_from_slice(&generation.to_ne_bytes());
        place[8..].copy_from_slice(&at.to_ne_bytes());
    }
    file.write_all_at(&page, 0)?;
    fault::install(file.into(), running_tag, log::flush_in_signal)?;
    Ok((withdraw, lost_load(&words)))
}

fn read_ends(file: &File) -> Vec<End> {
    let mut bytes = [0; ENDS_COUNT * END_BYTES];
    if file.read_exact_at(&mut bytes, ENDS_AT as u64).is_err() {
        // A new file.
        return Vec::new();
    }
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let ends = bytes.chunks_exact(END_BYTES).map(|end| (word(&end[..8]), word(&end[8..])));
    ends.filter(|(generation, _)| *generation != 0).collect()
}

fn how(words: &LastWords) -> String {
    words.note.map_or_else(|| "it left no word".to_owned(), |note| note.end.to_string())
}

/// What the process before was about to bring up while it served: nobody else can say how that has ended.
fn lost_load(words: &LastWords) -> Option<Entry> {
    let (generation, digest) = words.loading.filter(|_| words.served)?;
    let Work { verb, order } = words.work?;
    let to_blame = words.note.and_then(|note| note.generation) == Some(generation);
    let outcome = if to_blame { "load_crashed" } else { "process_ended" };
    let (what, how) = (words.what_was_loading(), how(words));
    let text = format!("{what} was not committed: the process ended ({how})");
    Some(Entry {
        order,
        plugin: words.whose.clone(),
        label: words.label.clone(),
        digest: Some(digest),
        generation: Some(generation),
        ..Entry::of_host("crash", verb, outcome, text)
    })
}

/// The rules of a master, for one end at a time.
fn judge(
    words: &LastWords,
    ends: &mut Vec<End>,
    now: Duration,
    limits: &Limits,
) -> Option<Withdrawal> {
    let note = words.note;
    let proven = note.and_then(|note| note.generation);
    let loading = words.loading.map(|(generation, _)| generation);
    // Without a note it may as well have been killed by somebody.
    let suspect = loading.filter(|_| note.is_none() && !words.served);
    let generation = proven.or(suspect)?;
    let how = how(words);
    let plugin = words.whose.as_ref().filter(|_| loading == Some(generation));
    let plugin = plugin.map(PluginName::as_str);
    tracing::error!(plugin, generation = generation.0, how, "the process before has ended unasked");
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let window = u64::try_from(limits.crash_window.as_millis()).unwrap_or(u64::MAX);
    ends.retain(|(_, at)| now.saturating_sub(*at) < window);
    ends.push((generation.0, now));
    ends.drain(..ends.len().saturating_sub(ENDS_COUNT));
    let count = ends.iter().filter(|(blamed, _)| *blamed == generation.0).count();
    let why = if proven.is_some() && !words.served {
        format!("the process before died of it before it could serve ({how})")
    } else if count >= limits.crash_count {
        let window = limits.crash_window;
        format!("{count} processes died within {window:?} while they ran it ({how})")
    } else {
        return None;
    };
    ends.retain(|(blamed, _)| *blamed != generation.0);
    let content = words.loading.filter(|(loading, _)| *loading == generation);
    Some(Withdrawal { generation, why, content: content.map(|(_, content)| content) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Digest, Generation, Label},
        sys::fault::Note,
    };

    fn ended(served: bool, proven: bool) -> LastWords {
        let generation = Some(Generation(7));
        let end = fault::End::Call(0, 1);
        let note = proven.then_some(Note { end, generation, gone: false });
        let loading = generation.zip(Some(Digest([1; 32])));
        LastWords { note, loading, served, ..LastWords::default() }
    }

    #[test]
    fn one_end_is_enough_before_it_could_serve_and_several_are_later() {
        let limits = Limits::default();
        let mut ends = Vec::new();
        let mut judge = |words: &LastWords, seconds| {
            let found = judge(words, &mut ends, Duration::from_secs(seconds), &limits);
            found.map(|it| it.generation.0)
        };
        assert_eq!(judge(&LastWords::default(), 0), None);
        assert_eq!(judge(&ended(false, true), 0), Some(7));
        for words in &[ended(true, true), ended(false, false)] {
            assert_eq!(judge(words, 1), None);
            assert_eq!(judge(words, 2), None);
            assert_eq!(judge(words, 100), None, "the others were long ago");
            assert_eq!(judge(words, 101), None);
            assert_eq!(judge(words, 102), Some(7));
        }
        assert_eq!(judge(&ended(true, false), 0), None, "killed while it served");
    }

    #[test]
    fn what_was_about_to_serve_is_written_down_where_others_served() {
        let work = Some(Work { verb: "deploy", order: 3 });
        let whose: Option<PluginName> = Some("shop".parse().unwrap());
        let label: Option<Label> = Some("2.1".parse().unwrap());
        let of = |served, proven, work| {
            let (whose, label) = (whose.clone(), label.clone());
            let words = LastWords { whose, label, work, ..ended(served, proven) };
            let row = lost_load(&words)?;
            assert!(row.text.starts_with("shop v2.1 (generation 7) was not committed: "));
            Some((row.verb, row.outcome, row.plugin.zip(row.label), row.order))
        };
        let version = || whose.clone().zip(label.clone());
        let told = |outcome: &str| Some(("deploy".into(), outcome.into(), version(), 3));
        assert_eq!(of(true, true, work), told("load_crashed"));
        assert_eq!(of(true, false, work), told("process_ended"));
        assert_eq!(of(false, true, work), None, "it was a start, which has its own words");
        assert_eq!(of(true, true, None), None);
    }

    #[test]
    fn ends_are_remembered_over_processes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-words");
        let mut page = vec![0; PAGE_BYTES];
        page[ENDS_AT..ENDS_AT + 8].copy_from_slice(&7_u64.to_ne_bytes());
        page[ENDS_AT + 8..ENDS_AT + 16].copy_from_slice(&9_u64.to_ne_bytes());
        std::fs::write(&path, &page).unwrap();
        assert_eq!(read_ends(&File::open(&path).unwrap()), [(7, 9)]);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(read_ends(&File::open(&path).unwrap()), []);
    }
}
