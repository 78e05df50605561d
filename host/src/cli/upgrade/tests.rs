//! What the commands send, and how they end.

use std::{
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::UNIX_EPOCH,
};

use super::*;
use crate::{
    admin::testing::plane_with,
    cli::{FAILED, REFUSED, remote::tests::Host},
    ids::Peer,
    metrics::fixture,
    upgrade::{Request, Wait},
};

type Asked = Arc<Mutex<Vec<Request>>>;

/// A host whose upgrades end as `verdict`.
fn host(verdict: Verdict) -> (Host, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let host = Host::with(move || {
        plane_with(fixture::serving(UNIX_EPOCH), |host| {
            host.upgrade = Arc::new(move |request| {
                heard.lock().unwrap().push(request);
                let outcome = fixture::outcome(verdict, "how it went", UNIX_EPOCH);
                Box::pin(async { outcome })
            });
        })
    });
    (host, asked)
}

fn args(host: &Host, json: bool) -> UpgradeArgs {
    UpgradeArgs { binary: None, config: None, wait: None, remote: host.remote(json) }
}

#[test]
fn every_verdict_has_its_exit_code() {
    for (verdict, exit) in Verdict::ALL.into_iter().zip([0, 0, 0, 3, 4, 5, 6, 7, 1]) {
        let (host, _) = host(verdict);
        for json in [false, true] {
            assert_eq!(upgrade(args(&host, json)), exit, "{verdict:?}");
        }
    }
}

#[test]
fn paths_are_those_of_this_shell() {
    let (host, asked) = host(Verdict::Committed);
    let here = std::env::current_dir().unwrap();
    let request = |binary: Option<&str>, config: Option<&str>, wait| Request {
        binary: binary.map(|path| here.join(path)),
        config: config.map(|path| here.join(path)),
        wait,
        // Over a Unix socket the kernel says who asks.
        by: Some(Peer { pid: std::process::id(), uid: rustix::process::getuid().as_raw() }),
    };
    for (binary, config, wait, expected) in [
        (None, None, None, request(None, None, Wait::No)),
        (Some("./b c"), None, Some(Until::Ready), request(Some("b c"), None, Wait::Ready)),
        (None, Some("/x/c"), Some(Until::Commit), request(None, Some("/x/c"), Wait::Commit)),
    ] {
        let (binary, config) = (binary.map(PathBuf::from), config.map(PathBuf::from));
        assert_eq!(upgrade(UpgradeArgs { binary, config, wait, ..args(&host, false) }), DONE);
        assert_eq!(asked.lock().unwrap().pop(), Some(expected));
    }
    use std::os::unix::ffi::OsStringExt;
    let config = Some(PathBuf::from(std::ffi::OsString::from_vec(b"a\xff".to_vec())));
    for json in [false, true] {
        assert_eq!(upgrade(UpgradeArgs { config: config.clone(), ..args(&host, json) }), USAGE);
    }
    assert_eq!(*asked.lock().unwrap(), []);
}

#[test]
fn a_refusal_that_is_no_verdict_ends_as_everywhere() {
    let reply = |status: u16, code: Option<&str>| Reply {
        status: status.try_into().unwrap(),
        code: code.map(str::to_owned),
        body: String::new(),
    };
    assert_eq!(upgrade_exit(&reply(403, Some("foreign_origin"))), REFUSED);
    assert_eq!(upgrade_exit(&reply(500, None)), FAILED);
    assert_eq!(upgrade_exit(&reply(500, Some("upgrade_unheard_of"))), FAILED);
    assert_eq!(upgrade_exit(&reply(200, None)), DONE);
}

#[test]
fn a_lame_duck_is_waited_for() {
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = looks.clone();
    let host = Host::with(move || {
        plane_with(fixture::serving(UNIX_EPOCH), |host| {
            let before = host.ready.clone();
            // True from the third look on.
            host.ready = Arc::new(move || {
                let mut readiness = before();
                if seen.fetch_add(1, Ordering::Relaxed) >= 2 {
                    readiness.stage = Stage::LameDuck;
                }
                readiness
            });
        })
    });
    let duck = |switch, wait| lame_duck(LameDuckArgs { switch, wait, remote: host.remote(false) });
    assert_eq!(duck(Switch::On, false), DONE);
    assert_eq!(looks.load(Ordering::Relaxed), 0);
    assert_eq!(duck(Switch::Off, true), DONE);
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    assert_eq!(duck(Switch::On, true), DONE);
    assert_eq!(looks.load(Ordering::Relaxed), 3);
}

#[test]
fn a_switch_without_effect_is_a_failure() {
    let host = Host::with(|| {
        plane_with(fixture::serving(UNIX_EPOCH), |host| {
            host.lame_duck = Arc::new(|_, _| Box::pin(async { false }));
        })
    });
    for wait in [false, true] {
        let remote = host.remote(false);
        assert_eq!(lame_duck(LameDuckArgs { switch: Switch::On, wait, remote }), FAILED);
    }
}
