//! Foreign code never runs under a lock that is not ours: who may run it, and where from.
//!
//! hyper, h2 and tokio free bytes and wake and drop wakers inside locks of their own, so that a
//! plugin's functions for that are called in one place, `plugin/release`. What types cannot hold of
//! it is held here, by the words of the code.

use std::collections::BTreeSet;

use super::{assert_none, imports::without_tests, is_unit_test, root, sources};

/// Every line of code below `folder` of the host, tests left out, with its file: the name of the
/// one that it is a child of.
fn lines(folder: &str) -> Vec<(String, String)> {
    let base = root().join("host/src").join(folder);
    let mut all = Vec::new();
    for (path, text) in sources(&format!("host/src/{folder}")) {
        if is_unit_test(&path) {
            continue;
        }
        let inside = path.strip_prefix(&base).unwrap().with_extension("");
        let file = inside.iter().next().and_then(|it| it.to_str()).unwrap().to_owned();
        let code = without_tests(&text).lines().map(str::trim);
        let code = code.filter(|line| !line.starts_with("//"));
        all.extend(code.map(|line| (file.clone(), line.to_owned())));
    }
    all
}

/// Holds what matches to the files of `allowed`, each of which must still need it.
#[track_caller]
fn only(folder: &str, allowed: &[(&str, &str)], is_it: impl Fn(&str) -> bool) {
    let mut unused: BTreeSet<_> = allowed.iter().map(|(file, _)| *file).collect();
    let mut found = Vec::new();
    for (file, line) in lines(folder) {
        if !is_it(&line) {
            continue;
        }
        if allowed.iter().all(|(name, _)| *name != file) {
            found.push(format!("{folder}/{file}: {line}"));
        }
        unused.remove(file.as_str());
    }
    found.extend(unused.iter().map(|file| format!("{folder}/{file} does not need it any more")));
    assert_none(&found);
}

fn goes_on(rest: &str) -> bool {
    rest.starts_with(|c: char| c == '_' || c.is_alphanumeric())
}

/// Whether `line` has `word` as one of its own.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c == '_' || c.is_alphanumeric())
            && !goes_on(&line[at + word.len()..])
    })
}

/// Whether `line` takes a function for letting go out of a value or a table of the border: reads
/// the field, which calls no method of that name, or binds it in a pattern.
fn takes_function(line: &str) -> bool {
    ["drop", "wake", "wake_by_ref"].iter().any(|name| {
        let field = format!(".{name}");
        let reads = line.match_indices(&field).any(|(at, _)| {
            let rest = &line[at + field.len()..];
            !goes_on(rest) && !rest.starts_with('(')
        });
        let pattern = line.split_once("abi::").map_or("", |(_, rest)| rest);
        let pattern = pattern.split_once("} =").map_or("", |(pattern, _)| pattern);
        reads || has_word(pattern, name)
    })
}

#[test]
fn what_a_plugin_made_is_let_go_of_in_one_place() {
    let allowed = [
        ("release", "the place"),
        ("header", "fields go behind the poll that gave them, where the plugin runs anyway"),
        ("instance", "it ends, or fails to begin, on a thread made for that"),
        ("blocking", "a job that is not run goes outside the lock, where nobody polls"),
        ("preflight", "a process that is made for it and serves nobody"),
    ];
    only("plugin", &allowed, takes_function);
}

#[test]
fn a_plugins_waker_is_wrapped_in_one_place() {
    let makers = ["Waker::from", "Waker::new", "Waker::from_raw", "RawWaker::new"];
    let makes = |line: &str| makers.iter().any(|maker| has_word(line, maker));
    let allowed =
        [("waker", "the place"), ("body", "the host's own, which has a piece brought over")];
    only("plugin", &allowed, makes);
}

/// Holds each line of `folder` that has one of `words` to have `guard` too; there are `count`.
#[track_caller]
fn guarded(folder: &str, words: &[&str], guard: &str, count: usize) {
    let all =
        lines(folder).into_iter().filter(|(_, line)| words.iter().any(|it| line.contains(it)));
    let (inside, outside): (Vec<_>, Vec<_>) = all.partition(|(_, line)| line.contains(guard));
    let outside = outside.iter().map(|(file, line)| format!("{folder}/{file}: {line}"));
    assert_none(&outside.collect::<Vec<_>>());
    assert_eq!(inside.len(), count, "{words:?} in {folder}: {inside:?}");
}

/// Others' values are let go of inside hyper, h2 and tokio: whoever reaches them, or ends what holds
/// a handle of theirs, does so in a scope.
#[test]
fn what_may_hold_a_lock_is_reached_in_a_scope() {
    // A length is asked of nobody who has a lock.
    let lent = ["Shell::with(", "Shell::<Lent<B>, O>::free(", "Shell::<T, O>::free("];
    guarded("plugin", &lent, "release::scope(", 5);
    guarded("serve", &["future.set(None)"], "release::scope(", 2);
    let h2 = [
        "handshake.as_mut()",
        "alive.poll(",
        "accept(&mut http",
        "say_last(&mut http",
        "http.graceful_shutdown(",
        "drop(http)",
    ];
    guarded("serve", &h2, "core.locked(", 7);
}

#[test]
fn a_data_threads_tasks_are_made_in_one_place() {
    let words = ["spawn_local", "spawn_blocking", "JoinSet", "LocalSet::spawn"];
    let spawns = |line: &str| {
        let from_tokio = line.contains("tokio") && has_word(line, "spawn");
        from_tokio || words.iter().any(|word| has_word(line, word))
    };
    only("serve", &[("task", "the place: each poll is a turn, and a scope of `release`")], spawns);
}

#[test]
fn calls_are_told_from_what_looks_like_them() {
    for call in [
        "unsafe { (job.drop)(job.data) };",
        "if let Some(free) = bytes.drop {",
        "let free = unsafe { (&raw const (*waker.vt).drop).read() };",
        "entry!(vt => InstanceVt.drop)",
        "let abi::Upgrade { data, start, drop } = self.upgrade;",
        "unsafe { (vt.wake_by_ref)(waker) }",
    ] {
        assert!(takes_function(call), "{call}");
    }
    for other in
        ["drop: Self::drop,", "waker.wake();", "drop(waker);", "it.dropped", "x.wake_by_ref();"]
    {
        assert!(!takes_function(other), "{other}");
    }
}
