//! Every limit, once: its name, kind, bounds, default and meaning.
//!
//! Owns the one table from which the flag, the environment variable, the TOML key and the help
//! line of each limit are made. Knows nothing of files or precedence.
//! Invariant: the tests below hold the table against [`Limits`]: every field, every default.

use super::values::{
    Count, GIB, HOUR, KIB, MIB, MINUTE, PluginTime, SECOND, Setting, Size, TIB, Time,
};
use crate::config::Limits;

fn describe<T: Setting>(meaning: &str, default: &str) -> String {
    format!("{meaning}; {} [default: {default}]", T::bounds())
}

macro_rules! limits {
    ($($name:ident: $kind:ty = $default:literal, $variable:literal, $meaning:literal;)*) => {
        /// The limits as typed: `None` where nothing was said.
        #[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[command(next_help_heading = "Limits (in a file: the table [limits])")]
        pub struct RawLimits { $(
            #[doc = $meaning]
            #[arg(
                long,
                env = $variable,
                hide_env_values = true,
                value_name = <$kind>::PLACEHOLDER,
                help = describe::<$kind>($meaning, $default),
            )]
            pub $name: Option<$kind>,
        )* }

        impl RawLimits {
            /// These, and `below` where these say nothing.
            #[must_use]
            pub fn or(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name),)* }
            }

            /// Puts everything that was said into `limits`.
            pub fn apply(self, limits: &mut Limits) {
                $(if let Some(value) = self.$name {
                    limits.$name = value.into();
                })*
            }
        }

        #[cfg(test)]
        const TABLE: &[(&str, &str, &str)] =
            &[$((stringify!($name), $variable, $default),)*];
    };
}

limits! {
    header_time: Time<1, { 10 * MINUTE }> = "10s", "HOTSEAT_HEADER_TIME",
        "From a request's first byte to the end of its head";
    body_gap: Time<1, HOUR> = "30s", "HOTSEAT_BODY_GAP",
        "Between two pieces of a body, in either direction";
    idle_time: Time<1, HOUR> = "75s", "HOTSEAT_IDLE_TIME",
        "A connection without a request";
    headers_count: Count<1, 1000> = "100", "HOTSEAT_HEADERS_COUNT",
        "Header fields of a request";
    head_bytes: Size<{ 8 * KIB }, { 16 * MIB }> = "64KiB", "HOTSEAT_HEAD_BYTES",
        "A request's head";
    body_bytes: Size<0, TIB> = "0B", "HOTSEAT_BODY_BYTES",
        "A request's body; 0 is no limit (it is streamed)";
    unread_bytes: Size<0, TIB> = "64MiB", "HOTSEAT_UNREAD_BYTES",
        "What is read away of a body that its handler leaves unread; beyond it the connection closes";
    unread_time: Time<1, HOUR> = "30s", "HOTSEAT_UNREAD_TIME",
        "How long reading it away, or the close after it, may take";
    plugin_time: PluginTime = "60s", "HOTSEAT_PLUGIN_TIME",
        "A plugin's time to the head of its response, but for waiting for its client's body";
    connections_count: Count<1, 1_000_000> = "10000", "HOTSEAT_CONNECTIONS_COUNT",
        "Open connections of the data plane";
    library_bytes: Size<{ 4 * KIB }, { 4 * GIB }> = "256MiB", "HOTSEAT_LIBRARY_BYTES",
        "A library";
    static_tls: Size<0, MIB> = "8KiB", "HOTSEAT_STATIC_TLS",
        "Room for libraries with initial-exec thread-locals (mimalloc, jemalloc); it is taken out of \
         every thread's stack, also of the smallest ones";
    resident_count: Count<1, 10_000> = "8", "HOTSEAT_RESIDENT_COUNT",
        "Libraries that cannot be unloaded before `recycle = \"auto\"` renews the worker";
    preflight_time: Time<1, { 10 * MINUTE }> = "5s", "HOTSEAT_PREFLIGHT_TIME",
        "A preflight child";
    load_time: Time<1, { 10 * MINUTE }> = "10s", "HOTSEAT_LOAD_TIME",
        "`dlopen` and `new` in the serving process";
    plugin_stop_time: Time<1, { 10 * MINUTE }> = "10s", "HOTSEAT_PLUGIN_STOP_TIME",
        "A plugin's `stop`";
    queue_count: Count<1, 10_000> = "128", "HOTSEAT_QUEUE_COUNT",
        "Orders that wait";
    debounce: Time<1, MINUTE> = "200ms", "HOTSEAT_DEBOUNCE",
        "Quiet time after a file event in the plugins folder";
    rescan: Time<10, HOUR> = "2s", "HOTSEAT_RESCAN",
        "Between two scans of the plugins folder";
    generation_drain: Time<1, { 168 * HOUR }> = "10min", "HOTSEAT_GENERATION_DRAIN",
        "How long a retired generation may drain";
    stop_time: Time<1, HOUR> = "30s", "HOTSEAT_STOP_TIME",
        "How long the last requests may take when the host stops";
    stage_time: Time<1, { 10 * MINUTE }> = "5s", "HOTSEAT_STAGE_TIME",
        "Reading and copying a new binary";
    check_time: Time<1, { 10 * MINUTE }> = "10s", "HOTSEAT_CHECK_TIME",
        "The checks of a new binary with its settings";
    freeze_time: Time<1, { 10 * MINUTE }> = "10s", "HOTSEAT_FREEZE_TIME",
        "How long a running deploy may hold up an upgrade";
    ready_time: Time<1, { 10 * MINUTE }> = "30s", "HOTSEAT_READY_TIME",
        "From a worker's start, or its last sign of progress, until it is ready";
    boot_time: Time<1, HOUR> = "5min", "HOTSEAT_BOOT_TIME",
        "From a worker's start until it is ready, whatever progress it makes";
    probe_time: Time<1, MINUTE> = "2s", "HOTSEAT_PROBE_TIME",
        "One probe of a new worker";
    soak_time: Time<0, HOUR> = "10s", "HOTSEAT_SOAK_TIME",
        "How long a new worker is watched before the one before is let go";
    soak_requests_count: Count<1, 1_000_000> = "100", "HOTSEAT_SOAK_REQUESTS_COUNT",
        "Answers of a new worker before its share of errors counts";
    soak_errors_percent: Count<1, 100> = "20", "HOTSEAT_SOAK_ERRORS_PERCENT",
        "By how many points the share of 5xx answers may rise after an upgrade";
    upgrade_drain: Time<1, { 168 * HOUR }> = "60s", "HOTSEAT_UPGRADE_DRAIN",
        "How long a worker that was replaced may drain";
    draining_count: Count<1, 100> = "3", "HOTSEAT_DRAINING_COUNT",
        "Workers that may drain at one time";
    idle_linger: Time<0, HOUR> = "5s", "HOTSEAT_IDLE_LINGER",
        "How long an idle connection may bring one more request when the host stops";
    lame_duck: Time<0, HOUR> = "0s", "HOTSEAT_LAME_DUCK",
        "How long a stopping host serves on while `/readyz` says no";
    hook_time: Time<1, MINUTE> = "5s", "HOTSEAT_HOOK_TIME",
        "A command around a signal, or a plugin's callback";
    crash_window: Time<1, HOUR> = "30s", "HOTSEAT_CRASH_WINDOW",
        "Within which time crashes are counted together";
    crash_count: Count<1, 1000> = "3", "HOTSEAT_CRASH_COUNT",
        "Crashes within the window before the generation to blame is withdrawn";
    crash_exit_after: Count<0, 10_000> = "0", "HOTSEAT_CRASH_EXIT_AFTER",
        "Workers in a row that do not come up before the host ends; 0: it goes on trying";
    crash_exit_count: Count<0, 10_000> = "0", "HOTSEAT_CRASH_EXIT_COUNT",
        "The name that `crash_exit_after` had before";
    state_probe: Time<100, HOUR> = "5s", "HOTSEAT_STATE_PROBE",
        "Between two looks at whether the state folder is there and can be written";
    binaries_count: Count<1, 100> = "3", "HOTSEAT_BINARIES_COUNT",
        "Binaries kept in the state folder";
    purge_time: Time<1, { 10 * MINUTE }> = "5s", "HOTSEAT_PURGE_TIME",
        "How long one thread may take to let go of a library";
    heartbeat: Time<1, { 60 * SECOND }> = "200ms", "HOTSEAT_HEARTBEAT",
        "A turn of a data thread that takes longer is logged and shown in the status";
    stuck_time: Time<500, HOUR> = "30s", "HOTSEAT_STUCK_TIME",
        "A data thread without a turn, or a worker without a beat, for that long is replaced";
    beat_time: Time<10, MINUTE> = "1s", "HOTSEAT_BEAT_TIME",
        "Between two beats of a worker, which tell its master that it is alive";
    log_queue_bytes: Size<{ 8 * KIB }, GIB> = "1MiB", "HOTSEAT_LOG_QUEUE_BYTES",
        "Log lines of a process that wait to be written; what does not fit is dropped and counted";
    log_flush_time: Time<0, MINUTE> = "1s", "HOTSEAT_LOG_FLUSH_TIME",
        "How long the end of a process waits until its log is written";
    log_repeat_count: Count<1, 1_000_000> = "10", "HOTSEAT_LOG_REPEAT_COUNT",
        "Lines about failing requests of one version, of one kind; of more only the number is logged";
    log_repeat_time: Time<100, HOUR> = "10s", "HOTSEAT_LOG_REPEAT_TIME",
        "Within which such lines are counted together";
    kept_count: Count<1, 100> = "5", "HOTSEAT_KEPT_COUNT",
        "Previous versions kept of each plugin";
    history_disk_count: Count<1, 1_000_000> = "10000", "HOTSEAT_HISTORY_DISK_COUNT",
        "History lines on disk";
    history_memory_count: Count<1, 100_000> = "256", "HOTSEAT_HISTORY_MEMORY_COUNT",
        "History lines in memory";
    retired_count: Count<1, 10_000> = "32", "HOTSEAT_RETIRED_COUNT",
        "Ended generations that the status lists";
    blocking_threads: Count<1, 4096> = "4 a core", "HOTSEAT_BLOCKING_THREADS",
        "Threads of the blocking pool";
    blocking_queue_count: Count<1, 1_000_000> = "1024", "HOTSEAT_BLOCKING_QUEUE_COUNT",
        "Jobs that wait for the blocking pool";
    tasks_count: Count<1, 1_000_000> = "10000", "HOTSEAT_TASKS_COUNT",
        "Tasks that one version of a plugin may have beside its requests";
    topics_count: Count<1, 1_000_000> = "1000", "HOTSEAT_TOPICS_COUNT",
        "Topics that one plugin may have";
    subscribers_count: Count<1, 1_000_000> = "10000", "HOTSEAT_SUBSCRIBERS_COUNT",
        "Subscriptions of topics that one plugin may have";
    topic_bytes: Size<1, GIB> = "1MiB", "HOTSEAT_TOPIC_BYTES",
        "What may wait for one subscriber of a topic, and so the longest message";
    series_count: Count<1, 100_000> = "1000", "HOTSEAT_SERIES_COUNT",
        "Metric series that one plugin may make";
    h2_streams_count: Count<1, 10_000> = "128", "HOTSEAT_H2_STREAMS_COUNT",
        "HTTP/2 streams of one connection";
    event_streams_count: Count<1, 10_000> = "64", "HOTSEAT_EVENT_STREAMS_COUNT",
        "Open event streams of the control plane; its other connections are not among them";
    descriptor_reserve_count: Count<1, 1_000_000> = "512", "HOTSEAT_DESCRIPTOR_RESERVE_COUNT",
        "Descriptors that no connection of the data plane gets; where they are most, half of all";
    cell_bytes: Size<KIB, { 64 * MIB }> = "1MiB", "HOTSEAT_CELL_BYTES",
        "One value that a plugin keeps in a cell";
    cells_count: Count<1, 65_536> = "1000", "HOTSEAT_CELLS_COUNT",
        "Cells of one plugin";
    cells_bytes: Size<KIB, { 64 * GIB }> = "16MiB", "HOTSEAT_CELLS_BYTES",
        "Keys and values of one plugin's cells";
    cells_total_bytes: Size<KIB, TIB> = "256MiB", "HOTSEAT_CELLS_TOTAL_BYTES",
        "Keys and values of all plugins' cells, also of those that are not loaded any more";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RawLimits {
        toml::from_str(text).unwrap()
    }

    /// `Limits` as its `Debug` shows it: the one view of all its fields that no one can forget to
    /// extend.
    fn fields(limits: &Limits) -> Vec<(String, String)> {
        format!("{limits:#?}")
            .lines()
            .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_table_names_every_limit() {
        let named: Vec<_> = TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let there: Vec<_> = fields(&Limits::default()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, there);
    }

    #[test]
    fn variables_are_named_after_their_limits() {
        for (name, variable, _) in TABLE {
            assert_eq!(*variable, format!("HOTSEAT_{}", name.to_uppercase()));
        }
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        for (name, _, default) in TABLE.iter().filter(|(name, ..)| *name != "blocking_threads") {
            // Every field is set to something else first, so that the default must do the work.
            let mut limits = other_limits();
            parse(&format!("{name} = '{default}'")).apply(&mut limits);
            let expected = fields(&Limits::default()).into_iter().find(|(field, _)| field == name);
            let found = fields(&limits).into_iter().find(|(field, _)| field == name);
            assert_eq!(found, expected);
        }
    }

    fn other_limits() -> Limits {
        let mut limits = Limits::default();
        let values = TABLE.iter().map(|(name, _, default)| {
            let is_count = default.ends_with("core") || default.bytes().all(|c| c.is_ascii_digit());
            // Each fits its bounds and is nobody's default.
            let value = if is_count {
                "9"
            } else if default.ends_with('B') {
                "9000"
            } else {
                "'600ms'"
            };
            format!("{name} = {value}\n")
        });
        let text = values.collect::<String>();
        parse(&text).apply(&mut limits);
        let (now, default) = (fields(&limits), fields(&Limits::default()));
        let same = now.iter().zip(&default).find(|(now, default)| now == default);
        assert_eq!(same, None, "every limit is reachable by its TOML key");
        limits
    }

    #[test]
    fn fits() {
        let mut limits = Limits::default();
        parse("head_bytes = '16MiB'\nconnections_count = 1000000").apply(&mut limits);
        parse("h2_streams_count = 10000\nbody_bytes = '1TiB'").apply(&mut limits);
        assert_eq!(limits.head_bytes, 16 << 20);
        assert_eq!(limits.connections_count, 1_000_000);
        assert_eq!(limits.h2_streams_count, 10_000);
        assert_eq!(limits.body_bytes, 1 << 40);
    }

    #[test]
    fn nothing_is_allowed_past_its_bounds() {
        let wrong = [
            "header_time = '0ms'",
            "header_time = '601s'",
            "headers_count = 0",
            "headers_count = 1001",
            "head_bytes = '8191B'",
            "library_bytes = '5GiB'",
            "queue_count = 10001",
            "kept_count = 0",
            "rescan = '9ms'",
            "body_gap = 30",
            "series_count = -1",
            "heartbeat = true",
            "colour = 'red'",
        ];
        for text in wrong {
            assert!(toml::from_str::<RawLimits>(text).is_err(), "{text}");
        }
    }
}
