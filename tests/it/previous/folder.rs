//! The state folder, written by either release and read by the other: what was acknowledged boots,
//! the history goes on, kept bytes can be returned to, and no number is used twice.

use hotseat_test_support::{Builder, Host, Release, eventually, fault, wire};
use serde_json::Value;

use super::{assert_label, pairs, upgrades::same};
use crate::crash::{try_get, warning};

/// Everything that a folder can hold: swaps, a refusal, a rollback, a removal, a withdrawal, a file
/// that was seen, an upgrade.
#[track_caller]
fn fill(host: &Host, release: &Release, other: &Release) {
    host.deploy(&other.fault("whoami"), "libhandler_v2.so").swapped();
    host.deploy_bytes(b"no library", "libhandler_v3.so").refused();
    host.deploy(&release.plugin("echo_v1"), "libecho_v1.so").swapped();
    host.control().unload("echo").assert_status(200);
    host.deploy(&release.plugin("echo_v1"), "libstays_v1.so").swapped();
    host.control().rollback(Some("handler"), None).swapped();
    host.upgrade(&["--wait"]).assert_code(0);
    let before = host.worker_pid();
    let crashing = host.deploy(&release.fault("crash"), "libhandler_v4.so").swapped().generation;
    assert!(try_get(host, "/crash?how=segv").is_none());
    host.wait_ended(before);
    let back = || try_get(host, "/").is_some_and(|it| it.contains("label"));
    eventually!(back(), "the version before\n{}", host.log_end());
    let text = warning(&host.status(), "handler");
    assert!(text.contains(&format!("generation {crashing} (v4) was withdrawn")), "{text}");
}

/// What serves, by name: generation and digest.
#[track_caller]
fn serving(host: &Host) -> Vec<(String, Value, Value)> {
    let list = wire::list(&host.status(), "/plugins");
    let serves = list.iter().filter(|it| !it["active"].is_null());
    let of = |it: &Value| {
        let active = &it["active"];
        (wire::text(it, "/name"), active["generation"].clone(), active["digest"].clone())
    };
    serves.map(of).collect()
}

fn begins_with(history: &[Value], earlier: &[Value]) -> bool {
    let later = history.len().saturating_sub(earlier.len());
    history.len() >= earlier.len() && history[later..].iter().zip(earlier).all(|(a, b)| same(a, b))
}

/// A host of `release` on what another one has left: it serves the same and knows the same.
#[track_caller]
fn take_over(release: &Release, left: &Left) -> Host {
    let host = left.builder.clone().binary(&release.binary).start();
    assert_eq!(serving(&host), left.serving, "{}", host.log_end());
    let history = host.control().history();
    assert!(begins_with(&history, &left.history), "{history:#?}\n{:#?}", left.history);
    host.get("/stays/").assert_status(200);
    host
}

/// What a host has left behind.
struct Left {
    builder: Builder,
    serving: Vec<(String, Value, Value)>,
    history: Vec<Value>,
}

impl Left {
    /// Ends `host`: in good order, or as a power cut would.
    #[track_caller]
    fn by(mut host: Host, builder: &Builder, in_order: bool) -> Self {
        let left = Self {
            builder: builder.clone(),
            serving: serving(&host),
            history: host.control().history(),
        };
        if in_order {
            assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
        } else {
            host.kill9();
        }
        left
    }
}

#[track_caller]
fn newest(host: &Host) -> u64 {
    let history = host.control().history();
    history.iter().filter_map(|it| it["generation"].as_u64()).max().unwrap_or_default()
}

#[test]
fn what_either_release_writes_the_other_reads() {
    for ([first, second], in_order) in pairs().into_iter().zip([true, false]) {
        let args = ["--crash-count=1", "--crash-window=5min", "--soak-time=100ms"];
        let builder = args.iter().fold(Builder::new(&first.binary), |it, arg| it.arg(*arg));
        builder.home().drop_in(&first.fault("whoami"), "libhandler_v1.so");
        let host = builder.clone().start();
        eventually!(wire::active(&host.status(), "handler").is_some(), "{}", host.log_end());
        fill(&host, &first, &second);

        let left = Left::by(host, &builder, in_order);
        let host = take_over(&second, &left);
        let used = newest(&host);
        // The file that was seen is not looked at again; kept bytes of either age are there.
        let deploys = |lines: &[Value]| lines.iter().filter(|it| it["verb"] == "deploy").count();
        assert_eq!(deploys(&host.control().history()), deploys(&left.history));
        let back = host.control().rollback(Some("handler"), None);
        assert!(back.answer.status == 200 || back.answer.status == 409, "{back:?}");
        let to_generation = host.control().rollback(Some("handler"), Some(2)).swapped();
        assert!(to_generation.generation > used, "no number is used twice");
        assert_label(&host.get("/"), "2");
        fill(&host, &second, &first);

        let left = Left::by(host, &builder, in_order);
        let host = take_over(&first, &left);
        let used = newest(&host);
        let next = host.deploy(&fault("plain_v1"), "libhandler_v9.so").swapped();
        assert!(next.generation > used, "no number is used twice");
        host.get("/").assert_contains("v1");
    }
}
