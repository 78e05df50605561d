//! Settings are read again by an upgrade; those that are no good change nothing.

use hotseat_test_support::{Host, host::listener};

use super::{builder, pid_of};

#[track_caller]
fn check_refused(host: &Host, config: &str, texts: &[&str]) {
    let (worker, listen) = (host.worker_pid(), super::listen(host));
    host.home().rewrite_config(config);
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3);
    assert_eq!(upgrade.verdict(), "preflight");
    texts.iter().for_each(|text| drop(upgrade.assert_says(text).clone()));
    assert_eq!(super::listen(host), listen);
    assert_eq!(pid_of(&host.get("/")), worker);
    super::assert_one_worker(host, worker);
}

/// A mistake in the file is told with its place, and what was there before goes on. The next
/// good file is taken.
#[test]
fn a_bad_file_changes_nothing() {
    let host = builder().listen(&["127.0.0.1:0"]).config("threads = 1\n").start();
    check_refused(&host, "threads = [\n", &["hotseat.toml"]);
    check_refused(&host, "colour = 'red'\n", &["hotseat.toml", "colour"]);
    check_refused(&host, "threads = 0\n", &["threads"]);
    let old = host.worker_pid();
    host.home().rewrite_config("threads = 2\n");
    host.upgrade(&["--wait"]).assert_code(0);
    assert_ne!(host.worker_pid(), old);
    assert_eq!(host.status()["cores"].as_array().unwrap().len(), 2);
}

/// An address that somebody else has is no reason to stop serving.
#[test]
fn an_address_that_is_taken_changes_nothing() {
    let taken = listener();
    let host = builder().listen(&[]).config("listen = ['127.0.0.1:0']\n").start();
    let address = taken.local_addr().unwrap();
    let text = format!("listen = ['127.0.0.1:0', '{address}']\n");
    check_refused(&host, &text, &[&address.to_string()]);
}

/// The state folder is the host's for life.
#[test]
fn the_state_folder_stays() {
    let host = builder().config("").start();
    let old = host.worker_pid();
    let other = host.home().write("other.toml", b"threads = 1\n");
    host.upgrade(&["--wait", "--config", other.to_str().unwrap()]).assert_code(0);
    assert_ne!(host.worker_pid(), old);
    assert_eq!(host.status()["cores"].as_array().unwrap().len(), 1, "it is another file");
    std::fs::remove_file(&other).unwrap();
    host.upgrade(&["--wait"]).assert_code(3).assert_says("other.toml");
}
