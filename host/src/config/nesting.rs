//! How settings fit each other.
//!
//! Owns the warnings about time-outs that do not nest and the refusals of what can never work.
//! Knows nothing of where a setting was typed.
//! Invariant: settings that nobody touched are never warned about.

use std::{collections::BTreeSet, time::Duration};

use super::{Config, Limits, Listen};

/// Nginx's `keepalive_timeout` towards upstreams where nobody sets it. Source:
/// `ngx_http_upstream_module`.
const NGINX_KEEPALIVE: Duration = Duration::from_secs(60);

/// Beats that a worker must be able to give before it is given up.
const BEATS_MIN: u32 = 3;

/// `10s`, `1500ms`: as it would be typed.
fn typed(time: Duration) -> String {
    match time.as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// Two time-outs of which the first should not be longer, and what comes of it if it is.
type Pair = (&'static str, &'static str, fn(&Limits) -> (Duration, Duration), &'static str);

const NESTED: [Pair; 6] = [
    (
        "plugin_time",
        "upgrade_drain",
        |limits| (limits.plugin_time, limits.upgrade_drain),
        "a request may be cut when its worker is replaced",
    ),
    (
        "plugin_time",
        "stop_time",
        |limits| (limits.plugin_time, limits.stop_time),
        "a request may be cut when the host stops",
    ),
    (
        "idle_linger",
        "stop_time",
        |limits| (limits.idle_linger, limits.stop_time),
        "the last request of an idle connection may be cut when the host stops",
    ),
    (
        "idle_linger",
        "upgrade_drain",
        |limits| (limits.idle_linger, limits.upgrade_drain),
        "an idle connection may be cut when its worker is replaced",
    ),
    (
        "ready_time",
        "boot_time",
        |limits| (limits.ready_time, limits.boot_time),
        "a worker that is still starting is ended before its time is over",
    ),
    (
        "heartbeat",
        "stuck_time",
        |limits| (limits.heartbeat, limits.stuck_time),
        "a data thread is given up as soon as it is seen to stand still",
    ),
];

impl Config {
    /// What may be meant otherwise, one line each with what to do about it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let untouched = Limits::default();
        let mut lines = Vec::new();
        for (inner, outer, read, result) in NESTED {
            let (short, long) = read(&self.limits);
            if short > long && (short, long) != read(&untouched) {
                let (short, long) = (typed(short), typed(long));
                lines.push(format!(
                    "`{inner}` ({short}) is longer than `{outer}` ({long}): {result}; set \
                     `{outer}` to {short} or more"
                ));
            }
        }
        for rule in &self.mounts {
            let (Some(time), drain) = (rule.plugin_time, self.limits.upgrade_drain) else {
                continue;
            };
            if time > drain {
                let (prefix, time) = (&rule.prefix, typed(time));
                lines.push(format!(
                    "`plugin_time` ({time}) of the mount `{prefix}` is longer than `upgrade_drain` ({}): a \
                     request may be cut when its worker is replaced; set `upgrade_drain` to {time} or more",
                    typed(drain)
                ));
            }
        }
        let Limits { cell_bytes, cells_bytes, .. } = self.limits;
        if cell_bytes > cells_bytes {
            lines.push(format!(
                "`cell_bytes` ({cell_bytes}) is above `cells_bytes` ({cells_bytes}): no value of that size has \
                 room; set `cells_bytes` to more than {cell_bytes}"
            ));
        }
        let idle = self.limits.idle_time;
        if idle <= NGINX_KEEPALIVE {
            lines.push(format!(
                "`idle_time` ({}) is not above the 60s for which nginx keeps idle connections to \
                 upstreams: it may send a request into a closing connection; set `idle_time` above \
                 the proxy's `keepalive_timeout`",
                typed(idle)
            ));
        }
        if self.limits.crash_exit_count > 0 {
            lines.push("`crash_exit_count` is called `crash_exit_after` now: rename it".to_owned());
        }
        let (exit, blame) = (self.limits.exit_after(), self.limits.crash_count);
        if exit > 0 && exit < blame {
            lines.push(format!(
                "`crash_exit_after` ({exit}) is below `crash_count` ({blame}): the host may give \
                 up before it withdraws the generation to blame; set `crash_exit_after` to {blame} \
                 or more",
            ));
        }
        if self.single && self.hooks.iter().any(|hook| hook.signal == "HUP") {
            lines.push(
                "a hook waits for HUP, which does nothing with `single`: remove the hook, or \
                 `single`"
                    .to_owned(),
            );
        }
        lines
    }

    /// What can never work.
    pub(super) fn clash(&self) -> Option<String> {
        let Limits { stuck_time, beat_time, .. } = self.limits;
        if stuck_time < BEATS_MIN * beat_time {
            let (stuck, beat, least) =
                (typed(stuck_time), typed(beat_time), typed(BEATS_MIN * beat_time));
            return Some(format!(
                "`stuck_time` ({stuck}) leaves no room for {BEATS_MIN} beats of `beat_time` \
                 ({beat}), and a worker that is well would be killed; set `stuck_time` to {least} \
                 or more"
            ));
        }
        let mut taken = BTreeSet::new();
        for listen in self.listen.iter().chain(&self.control).chain(&self.health_listen) {
            // Port 0 is another port each time.
            if matches!(listen, Listen::Tcp(address) if address.port() == 0) {
                continue;
            }
            if let Some(twice) = taken.replace(listen.to_string()) {
                return Some(format!("the address `{twice}` is given twice"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hook, HookPhase, MountRule};

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        assert_eq!(config.warnings(), expected);
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_nests_is_not_warned_about() {
        check(|_| {}, &[]);
        check(
            |config| {
                config.limits.plugin_time = s(20);
                config.limits.stop_time = s(20);
                config.limits.upgrade_drain = s(20);
                config.limits.idle_linger = s(20);
                config.limits.idle_time = Duration::from_millis(60_001);
                config.single = true;
            },
            &[],
        );
    }

    #[test]
    fn what_does_not_nest_is_named_with_its_cure() {
        check(
            |config| {
                config.limits.cell_bytes = 2048;
                config.limits.cells_bytes = 1024;
            },
            &[
                "`cell_bytes` (2048) is above `cells_bytes` (1024): no value of that size has room; set \
               `cells_bytes` to more than 2048",
            ],
        );
        check(
            |config| {
                let (plugin, prefix) = ("handler".parse().unwrap(), "/slow".to_owned());
                let plugin_time = Some(s(120));
                config.mounts.push(MountRule { host: None, prefix, plugin, plugin_time });
            },
            &[
                "`plugin_time` (120s) of the mount `/slow` is longer than `upgrade_drain` (60s): a request \
               may be cut when its worker is replaced; set `upgrade_drain` to 120s or more",
            ],
        );
        check(
            |config| {
                config.limits.plugin_time = s(61);
                config.limits.stop_time = s(61);
            },
            &["`plugin_time` (61s) is longer than `upgrade_drain` (60s): a request may be cut \
               when its worker is replaced; set `upgrade_drain` to 61s or more"],
        );
        check(
            |config| config.limits.stop_time = Duration::from_millis(5500),
            &["`plugin_time` (60s) is longer than `stop_time` (5500ms): a request may be cut \
               when the host stops; set `stop_time` to 60s or more"],
        );
        check(
            |config| config.limits.idle_linger = s(65),
            &[
                "`idle_linger` (65s) is longer than `stop_time` (30s): the last request of an \
                 idle connection may be cut when the host stops; set `stop_time` to 65s or more",
                "`idle_linger` (65s) is longer than `upgrade_drain` (60s): an idle connection may \
                 be cut when its worker is replaced; set `upgrade_drain` to 65s or more",
            ],
        );
        check(
            |config| config.limits.boot_time = s(1),
            &["`ready_time` (30s) is longer than `boot_time` (1s): a worker that is still \
               starting is ended before its time is over; set `boot_time` to 30s or more"],
        );
    }

    #[test]
    fn an_idle_time_within_the_proxys_is_warned_about() {
        check(
            |config| config.limits.idle_time = s(60),
            &["`idle_time` (60s) is not above the 60s for which nginx keeps idle connections to \
               upstreams: it may send a request into a closing connection; set `idle_time` above \
               the proxy's `keepalive_timeout`"],
        );
    }

    #[test]
    fn what_has_no_effect_is_warned_about() {
        check(
            |config| config.limits.crash_exit_after = 2,
            &["`crash_exit_after` (2) is below `crash_count` (3): the host may give up before it \
               withdraws the generation to blame; set `crash_exit_after` to 3 or more"],
        );
        check(
            |config| config.limits.crash_exit_count = 10,
            &["`crash_exit_count` is called `crash_exit_after` now: rename it"],
        );
        let command = vec!["x".to_owned()];
        let hook = Hook { signal: "HUP".to_owned(), phase: HookPhase::Pre, command };
        check(
            |config| {
                config.single = true;
                config.hooks = vec![hook];
            },
            &["a hook waits for HUP, which does nothing with `single`: remove the hook, or \
               `single`"],
        );
    }

    #[test]
    fn a_worker_has_time_for_its_beats() {
        check(
            |config| config.limits.heartbeat = s(60),
            &["`heartbeat` (60s) is longer than `stuck_time` (30s): a data thread is given up as \
               soon as it is seen to stand still; set `stuck_time` to 60s or more"],
        );
        let mut config = Config::default();
        config.limits.stuck_time = s(3);
        assert_eq!(config.clash(), None);
        config.limits.stuck_time = Duration::from_millis(2900);
        assert_eq!(
            config.clash().unwrap(),
            "`stuck_time` (2900ms) leaves no room for 3 beats of `beat_time` (1s), and a worker \
             that is well would be killed; set `stuck_time` to 3s or more"
        );
    }

    #[test]
    fn an_address_is_given_once() {
        let mut config = Config::default();
        let free = || Listen::Tcp(([127, 0, 0, 1], 0).into());
        config.listen = vec![free(), free(), Listen::Unix("/x".into())];
        assert_eq!(config.clash(), None);
        config.health_listen = config.control.clone();
        assert_eq!(config.clash().unwrap(), "the address `127.0.0.1:28000` is given twice");
        config.health_listen = vec![Listen::Unix("/x".into())];
        assert_eq!(config.clash().unwrap(), "the address `unix:/x` is given twice");
    }
}
