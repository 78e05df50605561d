//! The pages, whole.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::metrics::fixture;
use crate::{ids::Peer, state::history::Entry};

/// So many seconds after the begin of time.
fn later(seconds: u64) -> Now {
    Now { wall: UNIX_EPOCH + Duration::from_secs(seconds), boot: Duration::from_secs(3600) }
}

/// The time of day was set, to before the start and to long after it.
#[test]
fn a_clock_that_is_set_changes_nothing() {
    let mut status = fixture::led(UNIX_EPOCH + Duration::from_secs(1 << 30));
    status.up_from = Some(Duration::from_secs(3480));
    for process in &mut status.processes {
        process.up_from = Some(Duration::from_secs(3300));
    }
    for seconds in [0, 1 << 32] {
        let page = super::status(&status, Path::new("/srv"), &later(seconds));
        assert!(page.contains("pid 4242, up 2 min 0 s,"), "{page}");
        let lines = page.lines().filter(|it| it.contains("0.1.0   ")).collect::<Vec<_>>();
        assert!(lines.iter().all(|it| it.contains("  5 min 0 s  ")), "{lines:#?}");
        assert_eq!(lines.len(), 4, "{page}");
    }
}

#[test]
fn the_status_of_a_busy_host() {
    let status = super::status(&fixture::serving(UNIX_EPOCH), Path::new("/srv"), &later(10_923));
    let expected = "\
hotseat 0.1.0, serving, pid 4242, up 3 h 2 min, 63.0 MiB
data        127.0.0.1:8080
control     127.0.0.1:28000, unix:/run/hotseat.sock
plugins     /srv/plugins
state       /srv/.hotseat
paths from  /srv

plugin   mounted at         serves  generation  sha256     requests  failed
handler  /, api.example/v1  v2      7           07070707…  1204      4
heap: handler: 3.0 MiB live, 5.0 MiB held, 7.0 MiB at most
heap: of the process beside that, C libraries included: 12.0 MiB live
log: 8 lines were dropped, because nobody took them in time

left traffic
  handler v1 (generation 6) draining, 2 in flight
    request 17  GET /?sleep=20  request  12.3 s  127.0.0.1:40312
    and 1 more
  handler v1 (generation 5) pending: thread `core 1` has not let go

resident
  handler (generation 4): 1 thread left behind; heap of 2.0 MiB

blocked: core 1 for 5.0 s by handler (generation 7), request 21, /slow

orders
  9 running: deploy ./libhandler_v3.so
  10 waiting: deploy ./libecho_v1.so
";
    assert_eq!(status, expected);
}

#[test]
fn the_status_of_a_led_host() {
    let mut status = fixture::led(UNIX_EPOCH);
    (status.plugins, status.retired, status.cores, status.orders) = Default::default();
    let page = super::status(&status, Path::new("/srv"), &later(10_923));
    let expected = "\
paths from  /srv

process   pid   number  version  binary         up         connections
master    4000  -       0.1.0    3fa1c23fa1c2…  3 h 2 min  -
draining  4300  3       0.1.0    3fa1c23fa1c2…  3 h 2 min  1 (1 upgraded)
serving   4242  2       0.1.0    3fa1c23fa1c2…  3 h 2 min  7 (1 fresh, 2 idle, 3 busy, 1 h2)
draining  4100  1       0.1.0    -              3 h 2 min  0

nothing is loaded; try: curl 127.0.0.1:28000 -d ./libhandler_v1.so
log: 8 lines were dropped, because nobody took them in time
last upgrade: rolled_back, 3 h 2 min ago: it died
";
    assert!(page.ends_with(expected), "{page}");
}

#[test]
fn the_status_of_an_empty_host() {
    let mut status = fixture::empty(UNIX_EPOCH);
    status.missing = vec!["/api".to_owned()];
    status.never_unload = Some("pthread_create is\nnot ours".to_owned());
    status.census = Some("the table of\nkeys".to_owned());
    status.plugins_dir = None;
    status.files.insert("/srv/a\nb.so".into(), "a\nsymlink".to_owned());
    let page = super::status(&status, Path::new("/srv"), &later(0));
    let expected = "\
hotseat 0.1.0, serving, pid 4242, up 0.0 s, 63.0 MiB
data        127.0.0.1:8080
control     127.0.0.1:28000, unix:/run/hotseat.sock
plugins     not watched
state       /srv/.hotseat
paths from  /srv

nothing is loaded; try: curl 127.0.0.1:28000 -d ./libhandler_v1.so
missing: nothing serves /api
not deployed: /srv/a\\nb.so: a\\nsymlink
never unloads: pthread_create is\\nnot ours
does not see all who hold a library: the table of\\nkeys
";
    assert_eq!(page, expected);
}

#[test]
fn the_history_is_a_table() {
    let line = Entry {
        line: 1,
        by: None,
        subject: None,
        at: UNIX_EPOCH,
        order: 3,
        source: "control".to_owned(),
        verb: "deploy".to_owned(),
        plugin: None,
        label: None,
        digest: None,
        generation: None,
        from: None,
        outcome: "preflight_crashed".to_owned(),
        text: "it died\x1b[2J".to_owned(),
        ms: 4,
        left_heap: None,
    };
    let by = Some(Peer { pid: 7, uid: 0 });
    let other = Entry { outcome: "swapped".to_owned(), text: "b".to_owned(), by, ..line.clone() };
    let expected = "\
1970-01-01T00:00:00.000Z  control (pid 7, uid 0)  deploy  swapped            b
1970-01-01T00:00:00.000Z  control                 deploy  preflight_crashed  it died\\u{1b}[2J
";
    assert_eq!(history(&[other, line]), expected);
    assert_eq!(history(&[]), "no history yet\n");
}
