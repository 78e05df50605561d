//! The release before this one beside this one, in both directions: what either writes, the other
//! reads.
//!
//! Owns the pairs that the scenarios go through. What is read by another release: libraries
//! (`libraries`); messages between master and worker, and the memory of a master (`upgrades`,
//! `mixed`); the state folder (`folder`); cells, where only one of them has any (`cells`).

use hotseat_test_support::{Answer, Builder, Host, Release, eventually};

mod cells;
mod folder;
mod libraries;
mod mixed;
mod upgrades;

fn current() -> Release {
    Release::current(env!("CARGO_BIN_EXE_hotseat"))
}

/// Each of the two releases, with the other one.
fn pairs() -> [[Release; 2]; 2] {
    [[Release::previous(), current()], [current(), Release::previous()]]
}

/// A host of `release` by a name of its own, at which another one may be installed. A new worker is
/// watched for so long.
#[track_caller]
fn replaceable(release: &Release, soak: &str) -> Builder {
    let builder = Builder::new(&release.binary);
    let path = builder.home().path().join("hotseat");
    release.install(&path);
    let builder = builder.binary(path).arg("--idle-linger=200ms").arg("--upgrade-drain=5s");
    builder.arg(format!("--soak-time={soak}"))
}

/// Installs `release` and goes over to it.
#[track_caller]
fn go_over(host: &Host, release: &Release) {
    release.install(&host.home().path().join("hotseat"));
    let answer = host.post_upgrade(&serde_json::json!({ "wait": "commit" }));
    let verdict = answer.json()["upgrade"]["verdict"].clone();
    assert_eq!(verdict, "committed", "{}\n{}", answer.text(), host.log_end());
}

/// Waits until the processes in these roles run these releases.
#[track_caller]
fn assert_run(host: &Host, master: &Release, worker: &Release) {
    let runs = |role: &str, release: &Release| {
        host.process(role).is_some_and(|it| it.version == release.version)
    };
    eventually!(
        runs("master", master) && runs("serving", worker),
        "master {}, worker {}: {:?}\n{}",
        master.version,
        worker.version,
        host.processes(),
        host.log_end()
    );
}

/// `whoami` answers as this version of it.
#[track_caller]
fn assert_label(answer: &Answer, label: &str) {
    answer.assert_status(200);
    assert_eq!(answer.header("x-label"), Some(label), "{}", answer.text());
}
