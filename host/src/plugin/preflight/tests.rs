//! The parent's side, with scripts as children: what they say, and how they end.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use super::*;
use crate::error::{Coded, Kind};

const NONCE: &str = "0123";
const LONG: Duration = Duration::from_secs(20);

fn request(time: Duration, unload_policy: UnloadPolicy) -> PreflightRequest {
    PreflightRequest {
        path: PathBuf::from("/nowhere.so"),
        plugin: "played".parse().unwrap(),
        label: "1".parse().unwrap(),
        cells: None,
        cell_bounds: crate::config::Limits::default().of_cells(),
        settings: crate::config::plugin::PluginSettings::default(),
        time,
        unload_policy,
        static_tls: 8 << 10,
    }
}

/// Has `script` play the child.
fn play(script: &str, request: &PreflightRequest) -> Result<Verdict, PreflightError> {
    let began = Instant::now();
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    let mut trial = spawn(command).unwrap();
    let text = wire::request(request, NONCE, std::process::id());
    let pid = trial.child.id();
    let heard = talk::talk(&mut trial, &text, NONCE, began + request.time);
    let status = trial.end();
    assert!(status.is_some() && !is_there(pid), "the child is reaped");
    judge(request, began.elapsed(), heard, status)
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[track_caller]
fn refused(script: &str) -> PreflightError {
    play(script, &request(LONG, UnloadPolicy::Allow)).unwrap_err()
}

fn says(line: &str) -> String {
    format!(r#"echo '{{"nonce":"{NONCE}","line":{line}}}';"#)
}

fn passes(unmapped: bool) -> String {
    says(&format!(r#"{{"Passed":{{"unmapped":{unmapped},"hazards":["1 pthread key"]}}}}"#))
}

#[test]
fn a_verdict_ends_the_wait_though_a_grandchild_holds_the_pipe() {
    let began = Instant::now();
    let script = format!("sleep 60 & {} sleep 60", passes(true));
    let verdict = play(&script, &request(LONG, UnloadPolicy::Require)).unwrap();
    assert!(verdict.unmapped);
    assert_eq!(verdict.hazards, ["1 pthread key"]);
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_library_that_stays_is_refused_only_where_that_is_asked_for() {
    let policy = |policy| play(&passes(false), &request(LONG, policy));
    assert!(!policy(UnloadPolicy::Allow).unwrap().unmapped);
    assert!(!policy(UnloadPolicy::Off).unwrap().unmapped);
    assert_eq!(policy(UnloadPolicy::Require).unwrap_err().code(), "would_stay_resident");
}

#[test]
fn an_exit_without_a_verdict_is_no_success() {
    let error = refused("exit 0");
    assert_eq!((error.code(), error.kind()), ("preflight_exited", Kind::Refused));
    assert_eq!(refused("exit 70").code(), "preflight_no_verdict");
    let error = refused("echo no memory >&2; exit 71");
    assert_eq!((error.code(), error.kind()), ("preflight_spawn", Kind::Host));
    assert!(error.to_string().contains("no memory"), "{error}");
}

#[test]
fn a_crash_tells_signal_place_and_last_words() {
    let script =
        format!("{} echo first >&2; echo ouch >&2; kill -SEGV $$", says(r#"{"Stage":"New"}"#));
    let error = refused(&script);
    assert_eq!(error.code(), "preflight_crashed");
    assert_eq!(
        error.to_string(),
        "the preflight child died on SIGSEGV in `new`; its last words: `ouch`"
    );
}

#[test]
fn a_refusal_is_the_childs() {
    let line = r#"{"Refused":{"code":"new_failed","text":"no","hint":"yes"}}"#;
    let error = refused(&says(line));
    assert_eq!((error.code(), error.to_string().as_str()), ("new_failed", "no"));
    assert_eq!(error.hint().as_deref(), Some("yes"));
    let unknown = r#"{"Refused":{"code":"made_up","text":"no","hint":null}}"#;
    assert_eq!(refused(&says(unknown)).code(), "preflight_no_verdict");
}

#[test]
fn words_without_the_nonce_are_no_verdict() {
    let forged = passes(true).replace(NONCE, "9999");
    assert_eq!(refused(&format!("{forged} sleep 60")).code(), "preflight_no_verdict");
    assert_eq!(refused("echo passed; sleep 60").code(), "preflight_no_verdict");
}

#[test]
fn a_child_that_hangs_is_killed_at_the_limit() {
    let time = Duration::from_millis(100);
    let began = Instant::now();
    // Nor may it hang us: the request is larger than a pipe, and never read.
    let mut hanging = request(time, UnloadPolicy::Allow);
    hanging.settings.json = Some("x".repeat(1 << 20));
    let error = play("exec >&-; sleep 60", &hanging).unwrap_err();
    assert_eq!(error.code(), "preflight_timeout");
    assert!(began.elapsed() < LONG);
}

/// Nothing asks one whose library is refused before it is tried.
#[test]
fn a_child_that_is_not_needed_is_gone() {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("sleep 60 & sleep 60");
    let trial = spawn(command).unwrap();
    let pid = trial.child.id();
    assert!(is_there(pid));
    drop(Waiting(Ok(trial)));
    assert!(!is_there(pid));
    let none = Waiting(Err(io::Error::other("no more processes")));
    let error = none.run(&request(LONG, UnloadPolicy::Allow)).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("preflight_spawn", Kind::Host));
}

#[test]
fn of_much_talk_the_end_is_kept() {
    let error =
        refused("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2; exit 3");
    assert!(error.output.len() <= 4096);
    assert!(error.output.ends_with("line 19999\n"));
    assert_eq!(error.code(), "preflight_exited");
}

/// The test executable is not the host: it answers `preflight-child` with its own output.
#[test]
fn another_executable_gives_no_verdict() {
    let error = run(&request(LONG, UnloadPolicy::Allow)).unwrap_err();
    assert_eq!(error.code(), "preflight_no_verdict", "{error}");
}
