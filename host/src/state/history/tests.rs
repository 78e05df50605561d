//! The history in a real folder.

use std::time::Duration;

use super::*;

fn entry(order: u64) -> Entry {
    Entry {
        line: order,
        by: Some(Peer { pid: 4711, uid: 0 }),
        subject: Some("./a.so".to_owned()),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        order,
        source: "control".to_owned(),
        verb: "rollback".to_owned(),
        plugin: Some("handler".parse().unwrap()),
        label: Some("2.1.0".parse().unwrap()),
        digest: Some(Digest([7; 32])),
        generation: Some(Generation(9)),
        from: Some(Generation(3)),
        outcome: "rolled_back".to_owned(),
        text: "two\nlines".to_owned(),
        ms: 4,
        left_heap: Some(Heap { held: 5, peak: 7, live: 3, total: 11 }),
    }
}

fn refused(order: u64) -> Entry {
    let outcome = "file_missing".to_owned();
    let (plugin, label, digest, generation, from) = (None, None, None, None, None);
    Entry { plugin, label, digest, generation, from, outcome, ..entry(order) }
}

fn orders(history: &History) -> Vec<u64> {
    history.read(usize::MAX).iter().map(|entry| entry.order).collect()
}

/// Lines from memory, and behind them from the disk.
fn whole(history: &History, limit: usize, before: Option<u64>) -> Vec<Entry> {
    let (mut page, older) = history.page(limit, before);
    page.extend(older.into_iter().flat_map(|older| history.older(older)));
    page
}

fn lines(folder: &Path, name: &str) -> usize {
    fs::read_to_string(folder.join(name)).map_or(0, |text| text.lines().count())
}

#[test]
fn lines_survive_a_restart_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 100, 10).unwrap();
    for line in [entry(1), refused(2), entry(3)] {
        history.append(line).unwrap();
    }
    assert_eq!(history.read(2), [entry(3), refused(2)]);
    drop(history);
    let history = History::open(dir.path(), 100, 10).unwrap();
    assert_eq!(history.read(9), [entry(3), refused(2), entry(1)]);
    let small = History::open(dir.path(), 100, 2).unwrap();
    assert_eq!(orders(&small), [3, 2]);
}

#[test]
fn a_torn_line_spoils_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 100, 10).unwrap();
    history.append(entry(1)).unwrap();
    history.append(entry(2)).unwrap();
    drop(history);
    let path = dir.path().join("history.jsonl");
    let size = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(size - 10).unwrap();
    let history = History::open(dir.path(), 100, 10).unwrap();
    assert_eq!(orders(&history), [1]);
    history.append(entry(3)).unwrap();
    assert_eq!(orders(&History::open(dir.path(), 100, 10).unwrap()), [3, 1]);
}

#[test]
fn the_disk_holds_no_more_lines_than_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(dir.path(), 10, 100).unwrap();
    for order in 1..=37 {
        history.append(entry(order)).unwrap();
        let both = lines(dir.path(), "history.jsonl") + lines(dir.path(), "history.1.jsonl");
        assert!(both <= 10, "{both}");
        assert!(both as u64 >= order.min(5), "at least half of the limit is kept");
        if order % 4 == 0 {
            // The count of lines is found again by a restart.
            history = History::open(dir.path(), 10, 100).unwrap();
        }
    }
    assert_eq!(orders(&History::open(dir.path(), 10, 100).unwrap())[..6], [37, 36, 35, 34, 33, 32]);
}

#[test]
fn memory_goes_on_when_the_disk_fails() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 2, 3).unwrap();
    history.append(entry(1)).unwrap();
    // The rotation finds a folder in its way.
    fs::create_dir_all(dir.path().join("history.1.jsonl/x")).unwrap();
    history.append(entry(2)).unwrap_err();
    assert_eq!(orders(&history), [2, 1]);
    fs::remove_dir_all(dir.path().join("history.1.jsonl")).unwrap();
    for order in 3..=5 {
        history.append(entry(order)).unwrap();
    }
    assert_eq!(orders(&history), [5, 4, 3]);
}

#[test]
fn a_file_that_was_removed_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 4, 9).unwrap();
    (1..=2).for_each(|order| history.append(entry(order)).unwrap());
    fs::remove_file(dir.path().join("history.jsonl")).unwrap();
    (3..=6).for_each(|order| history.append(entry(order)).unwrap());
    assert_eq!(orders(&History::open(dir.path(), 4, 9).unwrap()), [6, 5, 4, 3]);
}

#[test]
fn pages_reach_from_memory_to_the_first_line_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 20, 4).unwrap();
    (1..=14).for_each(|order| history.append(entry(order)).unwrap());
    let page = |limit, before| {
        let page = whole(&history, limit, before);
        page.iter().map(|entry| entry.line).collect::<Vec<_>>()
    };
    assert_eq!(page(3, None), [14, 13, 12]);
    assert_eq!(page(6, None), [14, 13, 12, 11, 10, 9]);
    assert_eq!(page(3, Some(12)), [11, 10, 9]);
    assert_eq!(page(3, Some(6)), [5, 4, 3]);
    assert_eq!(page(usize::MAX, Some(4)), [3, 2, 1]);
    assert!(page(3, Some(1)).is_empty());
    assert_eq!(page(usize::MAX, None), (1..=14).rev().collect::<Vec<_>>());
}

/// What the release before needs of every line; it skips those that it cannot read.
#[test]
fn the_release_before_reads_every_line() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "that they are there is all that counts")]
    struct Before {
        at_ms: u64,
        order: u64,
        source: String,
        verb: String,
        plugin: Option<String>,
        generation: Option<u64>,
        outcome: String,
        text: String,
        ms: u64,
    }
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), 20, 4).unwrap();
    history.append(entry(1)).unwrap();
    history.append(Entry::of_host("signal", "stop", "stopping", "TERM")).unwrap();
    let text = fs::read_to_string(dir.path().join("history.jsonl")).unwrap();
    let lines: Vec<Before> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines.len(), 2);
}

#[test]
fn an_order_is_found_by_its_number_unless_another_host_may_have_had_it() {
    let dir = tempfile::tempdir().unwrap();
    // As the release before wrote it.
    let old = r#"{"at_ms":1,"order":2,"source":"control","verb":"deploy","outcome":"swapped","text":"of old","ms":4}"#;
    fs::write(dir.path().join("history.jsonl"), format!("{old}\n{old}\n")).unwrap();
    let history = History::open(dir.path(), 20, 2).unwrap();
    let find =
        |order| history.order(order).unwrap_or_else(|older| history.order_among(older, order));
    assert_eq!((history.order_max(), find(2)), (2, None));
    (3..=8).for_each(|order| history.append(entry(order)).unwrap());
    for order in [3, 5, 8] {
        assert_eq!(find(order).map(|it| it.order), Some(order), "also from the disk");
    }
    assert_eq!([0, 9].map(|order| history.order(order)), [Ok(None), Ok(None)], "nobody looks");
    assert_eq!(history.read(1)[0].line, 8, "lines are counted on");
}
