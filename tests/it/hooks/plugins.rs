//! Plugins hear of signals too, in the process that serves.

use super::*;

fn listener(config: &str) -> Host {
    let builder = quick(host!());
    let file = builder.home().path().join("heard");
    let text = format!("[plugin.handler]\nfile = '{}'\n{config}", file.display());
    builder.config(&text).with(fault("signals"), "libhandler_v1.so").start()
}

fn heard(host: &Host) -> Vec<String> {
    let text = std::fs::read_to_string(host.home().path().join("heard")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_heard(host: &Host, want: &[&str]) {
    eventually!(heard(host) == want, "{want:?}, not {:?}: {}", heard(host), host.log_end());
}

/// Before and after the host acts; what is before an upgrade is heard by the old worker's instance,
/// what is after it by the new one's.
#[test]
fn plugins_hear_of_signals() {
    let mut host = listener("");
    host.signal(Signal::USR1);
    wait_heard(&host, &["pre USR1", "post USR1"]);
    host.signal(Signal::USR2);
    wait_heard(&host, &["pre USR1", "post USR1", "pre USR2", "post USR2"]);
    let own = |host: &Host| host.get("/").assert_status(200).text();
    assert_eq!(own(&host), "pre USR1\npost USR1\npre USR2\npost USR2\n");
    host.upgrade(&["--wait"]).assert_code(0);
    let all = ["pre USR1", "post USR1", "pre USR2", "post USR2", "pre HUP", "post HUP"];
    wait_heard(&host, &all);
    assert_eq!(own(&host), "post HUP\n", "the instance of the new worker");
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    assert_eq!(heard(&host).last().map(String::as_str), Some("pre TERM"));
}

/// One that never returns from it keeps neither an upgrade nor a stop waiting for ever.
#[test]
fn a_plugin_that_hangs_in_a_signal_is_not_waited_for() {
    let mut host =
        listener("hang = 'HUP'\n[limits]\nhook_time = '100ms'\nplugin_stop_time = '200ms'\n");
    let before = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    assert_ne!(host.worker_pid(), before);
    wait_heard(&host, &["pre HUP", "post HUP"]);
    host.wait_gone(before);
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
}
