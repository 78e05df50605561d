//! The host under stress, and whoever drives it: swaps, settings, upgrades.
//!
//! Owns what each order must come to. One order at a time is given.

use std::time::{Duration, Instant};

use rand::{Rng as _, rngs::StdRng};
use serde_json::json;

use super::{QUICK_TIME, truth::Truth, truth::version_of};
use crate::{
    Answer, Builder, Host, fault, library,
    patience::{breathe, patience},
    wire,
};

/// How often the plugin ticks. Units: ms.
const TICKS: [u64; 3] = [5, 20, 50];
/// Orders of a phase, at least.
const TURNS_MIN: u32 = 5;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Settings of the host: whatever is promised a time has plenty of it.
const ARGS: [&str; 10] = [
    "--threads=2",
    "--soak-time=300ms",
    "--idle-linger=500ms",
    "--upgrade-drain=20s",
    "--generation-drain=20s",
    "--draining-count=30",
    "--plugin-time=20s",
    "--log-repeat-count=1000",
    // Threads that wait for a busy machine are none that a plugin holds up.
    "--heartbeat=5s",
    "--cells-on-disk=stress",
];

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) swaps: u64,
    pub(super) rollbacks: u64,
    pub(super) reloads: u64,
    pub(super) upgrades: u64,
    /// Orders that an upgrade did not take.
    pub(super) refused: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct House {
    pub(super) host: Host,
    pub(super) done: Done,
    libraries: [Vec<u8>; 2],
    blocking: Vec<u8>,
    label: u64,
    blocking_label: u64,
    note: u64,
}

fn config(note: u64, tick: u64) -> String {
    let mount = |prefix: &str, plugin: &str, more: &str| {
        format!("[[mount]]\nprefix = '{prefix}'\nplugin = '{plugin}'\n{more}\n")
    };
    let quick = format!("plugin_time = '{}ms'", QUICK_TIME.as_millis());
    [
        mount("/quick", "stress", &quick),
        mount("/worker", "worker", ""),
        mount("/", "stress", ""),
        format!("[plugin.stress]\nnote = {note}\ntick_ms = {tick}\n"),
    ]
    .concat()
}

/// Waits for it; `false`: in vain.
pub(super) fn wait(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience();
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        breathe(LOOK);
    }
    true
}

impl House {
    /// A host with the first versions of both plugins.
    pub(super) fn start(builder: Builder, truth: &Truth) -> Self {
        let builder = ARGS.into_iter().fold(builder.config(&config(1, TICKS[0])), Builder::arg);
        let host = builder.start();
        let libraries = ["stress_v1", "stress_v2"].map(|name| library::bytes(&fault(name)));
        let blocking = library::bytes(&fault("stress_blocking"));
        let (label, blocking_label, note, done) = (0, 0, 1, Done::default());
        let mut house = Self { host, done, libraries, blocking, label, blocking_label, note };
        house.swap(truth);
        house.swap_blocking(truth);
        house
    }

    /// The worker that takes orders.
    pub(super) fn worker(&self) -> u32 {
        self.host.worker_pid()
    }

    /// The bytes of the next version, with a name of its own, and their number behind them.
    fn next(&mut self, plugin: &str) -> (Vec<u8>, String) {
        let (bytes, label) = match plugin {
            "stress" => {
                self.label += 1;
                let which = usize::from(version_of(self.label) == 2);
                (&self.libraries[which], self.label)
            }
            _ => {
                self.blocking_label += 1;
                (&self.blocking, self.blocking_label)
            }
        };
        let bytes = [bytes.as_slice(), &label.to_le_bytes()].concat();
        (bytes, format!("lib{plugin}_v{label}.so"))
    }

    fn deploy(&mut self, plugin: &str) -> Answer {
        let (bytes, name) = self.next(plugin);
        let answer = self.host.deploy_bytes(&bytes, &name).answer;
        // Its bytes are the host's now.
        let _ = std::fs::remove_file(self.host.home().path().join(name));
        answer
    }

    /// A deploy that must be taken, behind whose answer nobody meets the version before.
    fn deployed(&mut self, truth: &Truth, plugin: &'static str) {
        let worker = self.worker();
        let answer = self.deploy(plugin);
        if answer.status != 200 {
            truth.breaks(format!("a deploy of {plugin}: {} {}", answer.status, answer.text()));
            return;
        }
        self.done.swaps += 1;
        let generation = wire::number(&answer.json(), "/generation");
        truth.raise(plugin, worker, generation, 0);
    }

    /// The other version of the application.
    pub(super) fn swap(&mut self, truth: &Truth) {
        self.deployed(truth, "stress");
    }

    /// New bytes of the first version.
    pub(super) fn swap_to_first(&mut self, truth: &Truth) {
        self.swap(truth);
        if version_of(self.label) != 1 {
            self.swap(truth);
        }
    }

    /// The blocking part again.
    pub(super) fn swap_blocking(&mut self, truth: &Truth) {
        self.deployed(truth, "worker");
    }

    fn ask_back(&self) -> Answer {
        self.host.control().rollback(Some("stress"), None).answer
    }

    /// The version before, as a generation of its own, behind whose answer nobody meets another one.
    fn roll_back(&mut self, truth: &Truth) {
        let worker = self.worker();
        let answer = self.ask_back();
        match answer.status {
            200 => self.done.rollbacks += 1,
            // There is none yet.
            409 if answer.json()["error"]["code"] == "nothing_to_roll_back" => return,
            status => return truth.breaks(format!("a rollback: {status} {}", answer.text())),
        }
        truth.raise("stress", worker, wire::number(&answer.json(), "/generation"), 0);
    }

    /// Ends the host and starts it again, on what it has written.
    pub(super) fn restart(&mut self) {
        self.host.restart();
    }

    /// Other settings, behind whose acceptance nobody meets those of before.
    fn reload(&mut self, truth: &Truth, random: &mut StdRng) {
        self.note += 1;
        let tick = TICKS[random.random_range(0..TICKS.len())];
        self.host.home().rewrite_config(&config(self.note, tick));
        let worker = self.worker();
        let answer = self.host.control().post_json("/v1/reload-config", &json!({}));
        let json = answer.json();
        if answer.status != 200 || json["deployed"][0]["plugin"] != "stress" {
            truth.breaks(format!("new settings: {} {}", answer.status, answer.text()));
            return;
        }
        self.done.reloads += 1;
        truth.raise("stress", worker, 0, self.note);
    }

    fn serving(&self) -> Option<u32> {
        let all = self.host.processes();
        let watched = all.iter().any(|it| matches!(&*it.role, "soaking" | "parked" | "booting"));
        all.iter().find(|it| it.role == "serving" && !watched).map(|it| it.pid)
    }

    /// HUP, an order meanwhile, and the commit.
    fn upgrade(&mut self, truth: &Truth, random: &mut StdRng) {
        let before = self.worker();
        self.host.hup();
        breathe(Duration::from_millis(random.random_range(0..400)));
        let is_deploy = random.random();
        let (answer, done) = match is_deploy {
            true => (self.deploy("stress"), &mut self.done.swaps),
            false => (self.ask_back(), &mut self.done.rollbacks),
        };
        match answer.status {
            200 => *done += 1,
            // Where another worker takes over, it may come too late.
            409 | 503 => self.done.refused += 1,
            status => {
                truth.breaks(format!("an order within an upgrade: {status} {}", answer.text()))
            }
        }
        if !wait(|| self.serving().is_some_and(|pid| pid != before)) {
            truth.breaks(format!("no other worker than {before}: {:?}", self.host.processes()));
            return;
        }
        self.done.upgrades += 1;
        let (worker, status) = (self.worker(), self.host.status());
        for plugin in ["stress", "worker"] {
            let generation = wire::active(&status, plugin).unwrap_or_default();
            truth.raise(plugin, worker, generation, 0);
        }
    }

    /// Orders up to the end, without a pause that is worth the name.
    pub(super) fn drive(&mut self, truth: &Truth, random: &mut StdRng, plan: &Drive) {
        let end = Instant::now() + plan.time;
        let mut turn = 0;
        // On a slow machine it takes longer: each kind of order is given.
        while Instant::now() < end || turn < TURNS_MIN {
            turn += 1;
            match random.random_range(0..100) {
                _ if plan.upgrades && turn % 12 == 3 => self.upgrade(truth, random),
                _ if turn % 6 == 4 => self.reload(truth, random),
                0..70 => self.swap(truth),
                70..85 => self.roll_back(truth),
                _ => self.swap_blocking(truth),
            }
            breathe(Duration::from_millis(random.random_range(0..80)));
        }
    }
}

/// A phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drive {
    pub(super) time: Duration,
    pub(super) upgrades: bool,
}
