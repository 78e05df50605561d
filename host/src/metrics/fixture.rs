//! A host in the middle of everything, for the tests of whatever shows a status.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::{
    ids::{Digest, Generation, PluginName},
    status::{
        Address, Blocked, Classes, CoreStatus, Counts, GenerationStatus, Growth, Heap, Holder,
        KeptVersion, Life, OrderStatus, PluginStatus, ProcessStatus, Stage, Status, Totals,
    },
    upgrade::{Outcome, Verdict},
};

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

fn generation(number: u64, label: &str, life: Life, since: SystemTime) -> GenerationStatus {
    GenerationStatus {
        generation: Generation(number),
        plugin: name("handler"),
        label: label.parse().unwrap(),
        digest: Digest([u8::try_from(number).unwrap(); 32]),
        life,
        since,
        holders: Vec::new(),
        holder_count: 0,
        heap: None,
        config: None,
        leaves: None,
        left: None,
        threads: BTreeMap::new(),
    }
}

fn order(order: u64, state: &'static str, subject: &str) -> OrderStatus {
    OrderStatus { order, verb: "deploy", subject: subject.to_owned(), state, outcome: None }
}

/// Nothing loaded yet.
pub(crate) fn empty(started: SystemTime) -> Status {
    Status {
        host_version: "0.1.0",
        pid: 4242,
        started,
        up_from: None,
        stage: Stage::Serving,
        listen: vec![Address::Tcp(([127, 0, 0, 1], 8080).into())],
        control: vec![
            Address::Tcp(([127, 0, 0, 1], 28000).into()),
            Address::Unix("/run/hotseat.sock".into()),
        ],
        state_dir: "/srv/.hotseat".into(),
        plugins_dir: Some("/srv/plugins".into()),
        example_library: "libhandler_v1.so".to_owned(),
        files: BTreeMap::new(),
        never_unload: None,
        census: None,
        plugins: Vec::new(),
        cells: Vec::new(),
        retired: Vec::new(),
        resident_count: 0,
        own_answers: BTreeMap::new(),
        evicted: 0,
        thin: 0,
        log_dropped: 0,
        cores: Vec::new(),
        orders: Vec::new(),
        missing: Vec::new(),
        unwritable: None,
        rss_bytes: Some(63 << 20),
        c_heap_bytes: 12 << 20,
        growth: Growth::default(),
        processes: Vec::new(),
        upgrade: None,
        connections: Classes::default(),
        totals: Totals::default(),
    }
}

/// One plugin that serves, with generations in every phase of leaving.
pub(crate) fn serving(started: SystemTime) -> Status {
    let mut draining = generation(6, "1", Life::Draining, started);
    draining.holder_count = 2;
    draining.holders = vec![Holder {
        request: 17,
        method: "GET".to_owned(),
        path: "/?sleep=20".to_owned(),
        doing: "request",
        age: Duration::from_millis(12_340),
        peer: "127.0.0.1:40312".to_owned(),
    }];
    let resident = Life::Resident("1 thread left behind".to_owned());
    let pending = Life::Pending("thread `core 1` has not let go".to_owned());
    let kept = KeptVersion {
        generation: Generation(6),
        label: "1".parse().unwrap(),
        digest: Digest([6; 32]),
        rolled_back: true,
    };
    let blocked = Blocked {
        code: Some((name("handler"), Generation(7))),
        doing: "request",
        request: Some((21, "/slow".to_owned())),
        since: Duration::from_secs(5),
    };
    let counts = Counts { requests: 1204, errors: 3, panics: 1, timeouts: 0, cut: 0 };
    let mut active = generation(7, "2", Life::Serving, started);
    active.heap = Some(Heap { held: 5 << 20, peak: 7 << 20, live: 3 << 20, total: 9 << 30 });
    let mut resident = generation(4, "1", resident, started);
    resident.heap = Some(Heap { held: 2 << 20, ..Heap::default() });
    Status {
        plugins: vec![PluginStatus {
            name: name("handler"),
            mounts: vec!["/".to_owned(), "api.example/v1".to_owned()],
            active: Some(active),
            kept: vec![kept],
            warning: None,
            counts,
        }],
        retired: vec![
            draining,
            generation(5, "1", pending, started),
            resident,
            generation(3, "1", Life::Unloaded, started),
        ],
        resident_count: 1,
        evicted: 5,
        thin: 9,
        log_dropped: 8,
        own_answers: BTreeMap::from([("no_mount", 3)]),
        cores: vec![
            CoreStatus { core: 0, connections: 3, blocked: None },
            CoreStatus { core: 1, connections: 4, blocked: Some(blocked) },
        ],
        orders: vec![
            order(9, "running", "./libhandler_v3.so"),
            order(10, "waiting", "./libecho_v1.so"),
            order(8, "done", "./libhandler_v2.so"),
        ],
        ..empty(started)
    }
}

/// How an upgrade ended that a test made up.
pub(crate) fn outcome(verdict: Verdict, text: &str, at: SystemTime) -> Outcome {
    Outcome {
        verdict,
        text: text.to_owned(),
        hint: Some("look at it".to_owned()),
        old_pid: Some(4242),
        new_pid: None,
        binary: Some("ab".repeat(32)),
        took: Duration::from_millis(1500),
        at,
    }
}

/// The same with a master, right after an upgrade that was taken back.
pub(crate) fn led(started: SystemTime) -> Status {
    let process = |pid, role: &str, number, connections| ProcessStatus {
        pid,
        role: role.to_owned(),
        number,
        version: "0.1.0".to_owned(),
        binary: (number != 1).then(|| "3fa1c2".repeat(8)),
        from_memory: false,
        since: started,
        up_from: None,
        connections,
    };
    let connections = Classes { fresh: 1, head: 0, idle: 2, busy: 3, h2: 1, upgraded: 0 };
    let upgrades = [(Verdict::Committed, 2), (Verdict::RolledBack, 1)].into_iter().collect();
    Status {
        processes: vec![
            process(4000, "master", 0, Classes::default()),
            process(4300, "draining", 3, Classes { upgraded: 1, ..Classes::default() }),
            process(4242, "serving", 2, connections),
            process(4100, "draining", 1, Classes::default()),
        ],
        upgrade: Some(outcome(Verdict::RolledBack, "it died\nof SIGSEGV", started)),
        connections,
        totals: Totals {
            upgrades,
            worker_crashes: 4,
            stuck_workers: 2,
            renewed_workers: 3,
            log_dropped: 0,
        },
        ..serving(started)
    }
}
