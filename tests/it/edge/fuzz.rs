//! Conversations made by seeds: those that were kept because they have failed once, and a few more.
//!
//! Owns no generator; `make fuzz` goes on where this ends.

use std::{fs, path::Path};

use hotseat_test_support::fuzz::{Case, play_all};

use super::{assert_well, edge};

/// Fresh cases, always the same.
const SEEDS: std::ops::Range<u64> = 0..400;

/// Failures that are told.
const TOLD: usize = 4;

#[track_caller]
fn check(cases: &[Case], names: &[String]) {
    let host = edge().start();
    let failed: Vec<_> = play_all(cases, host.data())
        .into_iter()
        .take(TOLD)
        .map(|(at, text)| format!("{}: {text}\n{}", names[at], cases[at]))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_well(&host);
}

/// Every file of `tests/data/fuzz`.
#[test]
fn kept_cases_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/fuzz");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|it| it.path()).collect();
    files.sort();
    let cases: Vec<_> = files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            Case::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect();
    assert!(cases.len() > 5, "there are kept cases");
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    check(&cases, &names);
}

#[test]
fn fresh_cases_hold() {
    let cases: Vec<_> = SEEDS.map(Case::made_by).collect();
    let names: Vec<_> = SEEDS.map(|seed| format!("seed {seed}")).collect();
    check(&cases, &names);
}
