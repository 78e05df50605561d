//! The tables of the SDK's documentation: what works inside a plugin, and how. Each row has a test.
//!
//! A test is named by its module below `tests/it`, or below `plugin-api/src` behind `sdk::`.

use std::{collections::BTreeMap, fs};

use super::{assert_none, is_unit_test, root, sources};

const DIFFERS: &[&str] = &["service::same::differs::what_differs_is_what_is_named"];

const LEFT_OUT: &[&str] = &["service::same::differs::what_is_left_out_is_what_is_named"];

/// First cell of a row, and the tests that hold what stands in it.
const ROWS: [(&str, &[&str]); 72] = [
    // Beside requests.
    ("work that belongs to no request", &["beside::ends::they_go_on_until_the_last_request"]),
    (
        "work that comes again and again",
        &["beside::ends::a_swap_ends_them", "sdk::tests::kit::periodic_work_goes_by_the_clock"],
    ),
    (
        "to end one, to await its end",
        &[
            "beside::tasks::a_task_ends_as_it_does",
            "sdk::context::spawn::tests::an_abort_wakes_the_task_and_drops_what_it_has",
        ],
    ),
    ("`tokio::spawn`, with a runtime", &["service::rows::a_task_ends_with_the_runtime"]),
    ("an error, a panic of a task", &["beside::tasks::a_task_ends_as_it_does"]),
    (
        "to tell other requests, tasks, cores and versions something",
        &[
            "beside::topics::versions_hear_each_other",
            "beside::topics::an_upgrade_begins_a_topic_anew",
        ],
    ),
    ("a reader that does not keep up", &["beside::topics::a_reader_that_lags_is_told"]),
    ("one piece of code that blocks", &["sdk::tests::full_pool_is_an_error"]),
    (
        "a plugin whose code blocks",
        &[
            "beside::blocking::a_call_has_its_whole_request_on_the_pool",
            "beside::blocking::a_full_pool_is_503_while_others_are_served",
        ],
    ),
    (
        "too many of anything",
        &["beside::tasks::there_is_a_limit", "beside::topics::there_are_limits"],
    ),
    // Axum, tower and tokio.
    (
        "extractors, state, nested routers, `MatchedPath`, `ConnectInfo`, `Form`, `Json`, `Multipart`",
        &["service::same::answers_are_the_same"],
    ),
    (
        "`Uri`, `OriginalUri`",
        &[
            "service::same::answers_are_the_same",
            "service::same::http2::answers_over_http2_are_the_same",
            "service::same::differs::a_mount_takes_its_prefix_off_an_absolute_target",
        ],
    ),
    ("HTTP/2", &["service::same::http2::answers_over_http2_are_the_same"]),
    (
        "layers of tower-http",
        &["service::same::answers_are_the_same", "service::logs::a_trace_layer_tells_of_requests"],
    ),
    (
        "WebSockets (`WebSocketUpgrade`), `hyper::upgrade::on`",
        &[
            "service::upgrades::conversations_are_the_same",
            "service::upgrades::another_protocol_is_the_same",
            "service::same::http2::websockets_over_http2_are_not_offered",
        ],
    ),
    ("gRPC", &["service::same::http2::a_call_of_grpc_is_the_same"]),
    (
        "bodies in both directions, trailers, SSE, `Body::from_stream`",
        &["service::same::answers_are_the_same", "service::bodies::a_task_reads_what_comes_late"],
    ),
    (
        "`tokio::time`, `net`, `process`, `spawn`, `spawn_blocking`",
        &[
            "service::same::answers_are_the_same",
            "service::rows::a_child_process_is_waited_for",
            "service::runtime::all_of_a_handler_is_within_the_runtime",
            "service::runtime::a_body_is_made_within_the_runtime",
        ],
    ),
    (
        "`block_in_place`",
        &[
            "service::rows::blocking_in_place_of_a_task_blocks_nobody",
            "service::rows::blocking_in_a_call_blocks_the_data_thread",
        ],
    ),
    (
        "`Handle::block_on`, clients that block",
        &["service::rows::blocking_in_a_call_blocks_the_data_thread"],
    ),
    ("`spawn_local`", &["service::rows::spawn_local_panics"]),
    (
        "tokio's budget, by which a task makes room for others",
        &["service::rows::a_call_has_no_budget"],
    ),
    (
        "the request's number, the client, [`Context`]",
        &["service::runtime::a_service_knows_its_request", "service::logs::a_line_has_its_request"],
    ),
    (
        "the time that is left for an answer",
        &["service::rows::the_deadline_is_told", "deadlines::a_mount_has_its_own_time"],
    ),
    (
        "a client that goes",
        &[
            "service::same::differs::a_client_that_closes_its_side_is_served_or_not",
            "deadlines::a_client_that_closes_its_side_is_noticed",
            "deadlines::a_client_that_closes_its_side_is_let_go_where_that_is_set",
        ],
    ),
    (
        "the drain",
        &[
            "service::rows::an_event_stream_ends_at_the_drain",
            "sdk::tests::websocket::drain_closes_with_1012_when_wanted",
            "service::upgrades::a_conversation_outlives_its_version",
        ],
    ),
    (
        "a client that takes nothing",
        &[
            "applications::chat::slow::who_never_reads_is_let_go",
            "sdk::tests::service::the_rest_of_a_conversation_has_its_time",
        ],
    ),
    (
        "a pool for a database, a client (`reqwest`, hyper's), a task that runs on",
        &[
            "applications::notes::swaps::swaps_under_load",
            "applications::upstream::swaps::nothing_is_left_of_it_under_load",
            "service::rows::a_task_ends_with_the_runtime",
            "service::swaps::a_handler_with_a_runtime_unloads",
            "sdk::tests::service::state_is_dropped_at_the_end",
        ],
    ),
    (
        "blocking code at the end of a version",
        &[
            "service::options::blocking_code_has_its_time_to_end",
            "service::options::blocking_code_that_does_not_end_keeps_its_library",
        ],
    ),
    (
        "an error of the service, a panic",
        &[
            "service::runtime::a_service_knows_its_request",
            "service::same::differs::what_differs_is_what_is_named",
        ],
    ),
    (
        "settings, secrets, cells, metrics, topics",
        &[
            "service::rows::a_service_has_cells_and_settings",
            "service::rows::metrics_are_the_hosts",
            "applications::upstream::settings::the_token_is_told_to_nobody_else",
            "applications::chat::versions::sockets_of_two_versions_are_in_one_room",
        ],
    ),
    (
        "[`Handler::stop`], `self_test`, `signal`",
        &[
            "sdk::tests::service::state_is_dropped_at_the_end",
            "service::rows::a_service_has_cells_and_settings",
        ],
    ),
    (
        "`tracing`, `log`",
        &[
            "service::logs::an_event_has_its_fields_and_spans",
            "service::logs::a_record_has_its_fields_and_spans",
            "service::logs::a_line_has_its_request",
        ],
    ),
    (
        "a subscriber or logger of one's own",
        &[
            "service::logs::an_authors_own_subscriber_wins",
            "service::logs::an_authors_own_logger_wins",
        ],
    ),
    ("`println!`, `eprintln!`", &["service::logs::prints_are_attributed"]),
    (
        "`std::thread::sleep`, a lock that is held for long",
        &["blocked::a_blocking_handler_is_named_and_others_are_served"],
    ),
    ("a runtime in a static", &["service::options::a_runtime_in_a_static_keeps_its_library"]),
    (
        "an `EnterGuard` of a runtime that is held over an `.await`",
        &[
            "service::runtime::a_guard_over_an_await_reaches_others",
            "service::runtime::a_guard_over_an_await_breaks_its_own_answer",
        ],
    ),
    // What differs from a program of its own.
    ("`CONNECT`, `TRACE`, `OPTIONS *`", DIFFERS),
    ("a request without `Host`, or with several", DIFFERS),
    (
        "a target like `foo` or `a:80`, or `*` without `OPTIONS`; one with a user's name in it",
        DIFFERS,
    ),
    ("an `Expect` that is not `100-continue`", DIFFERS),
    ("a `Transfer-Encoding` that is not one `chunked`", DIFFERS),
    ("a status from 600 to 999", DIFFERS),
    ("the body of a 205", LEFT_OUT),
    ("`hyper::ext::ReasonPhrase`", DIFFERS),
    ("the fields `keep-alive`, and `upgrade` where the answer is neither 101 nor 426", LEFT_OUT),
    (
        "`ConnectInfo<SocketAddr>` of a client on a Unix socket",
        &["service::same::differs::a_client_on_a_unix_socket_has_no_address"],
    ),
    // What belongs to the process.
    (
        "`exit`, `abort`, a segmentation fault, a stack overflow",
        &["crash::ends::in_a_call", "crash::blame::a_version_is_withdrawn_after_its_third_crash"],
    ),
    (
        "threads",
        &[
            "unload::a_thread_left_behind_keeps_its_library",
            "unload::drops::threads_in_fields_end_with_the_handler",
        ],
    ),
    ("thread-locals", &["unload::thread_local_destructors_are_run_and_it_is_unmapped"]),
    ("statics", &["deploy::statics_belong_to_one_generation"]),
    ("`rayon`, other pools of threads", &["unload::real::rayon"]),
    (
        "the allocator",
        &[
            "unload::heap::statics_go_with_their_library",
            "unload::heap::an_allocator_of_its_own_stays_its_own",
        ],
    ),
    (
        "child processes",
        &["service::rows::a_child_process_is_waited_for", "zoo::preflight::constructor_forks"],
    ),
    (
        "`tokio::signal`, `signal-hook`",
        &[
            "unload::real::tokio_signal",
            "unload::real::signal_hook",
            "unload::actions::a_handler_is_called_while_it_serves",
            "unload::actions::what_the_host_handles_it_hears_once",
            "hooks::plugins::plugins_hear_of_signals",
        ],
    ),
    (
        "working directory, umask, limits, environment",
        &[
            "process_wide::where_and_how_files_are_made_is_the_hosts",
            "process_wide::limits_are_raised_again",
            "process_wide::variables_are_those_of_the_start",
        ],
    ),
    ("a panic hook", &["service::rows::a_panic_hook_of_ones_own_costs_the_place"]),
    ("TLS in C", &["unload::heaps::a_block_of_what_stays_holds_a_library"]),
    // Testing a plugin.
    (
        "an axum application, another service",
        &["sdk::tests::service::extractors_find_what_they_look_for"],
    ),
    (
        "requests",
        &[
            "sdk::tests::service::extractors_find_what_they_look_for",
            "sdk::tests::service::targets_may_be_absolute",
            "sdk::tests::kit::deadline_drops_the_call",
        ],
    ),
    (
        "several at one time",
        &[
            "sdk::tests::service::time_of_the_host_jumps_and_tokios_does_not",
            "sdk::tests::kit::client_that_leaves_is_told_of",
        ],
    ),
    (
        "a body that comes when the test says so",
        &["sdk::tests::kit::upload_of_another_thread_wakes_the_plugin"],
    ),
    (
        "answers",
        &[
            "sdk::tests::kit::answers_are_read_as_json",
            "sdk::tests::service::bodies_pass_both_ways",
        ],
    ),
    (
        "WebSockets, other upgrades",
        &[
            "sdk::tests::service::websockets_of_axum_converse",
            "sdk::tests::bodies::upgraded_connection_is_a_byte_stream",
        ],
    ),
    (
        "time",
        &[
            "sdk::tests::kit::time_jumps_when_nothing_else_can_go_on",
            "sdk::tests::kit::real_time_is_real",
        ],
    ),
    ("the end of a version", &["sdk::tests::kit::version_ends_once"]),
    (
        "what the plugin has done",
        &[
            "sdk::tests::kit::services::cells_are_kept",
            "sdk::tests::kit::services::topics_are_heard",
            "sdk::tests::service::panic_of_a_task_is_recorded",
        ],
    ),
    // Cells.
    ("the version (a swap, an unload)", &["cells::a_value_outlives_its_version"]),
    (
        "the worker (an upgrade, a crash, `kill -9` at any instant)",
        &["cells::workers::what_was_acknowledged_outlives_kill_9"],
    ),
    (
        "the host (a stop, or its master killed)",
        &[
            "cells::disk::a_stop_loses_nothing",
            "cells::disk::what_was_written_outlives_a_kill_of_everything",
        ],
    ),
    ("the machine", &["cells::disk::a_damaged_file_is_not_believed"]),
];

/// The first cell of each row of each table in `text`, without the tables' heads.
fn rows(text: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut is_table = false;
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches(['/', '!']).trim();
        let cell = line.strip_prefix('|').and_then(|line| line.split('|').next()).map(str::trim);
        match cell {
            None => is_table = false,
            // What stands above is the head.
            Some(cell) if cell.starts_with("---") => is_table = true,
            Some(cell) if is_table => rows.push(cell),
            Some(_) => {}
        }
    }
    rows
}

/// Whether `text` has a test of this name, by itself or as one of a macro's.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_test = |at: usize| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|line| *line == "#[test]")
    };
    let by_itself = lines
        .iter()
        .enumerate()
        .any(|(at, line)| line.starts_with(&format!("fn {name}(")) && is_test(at));
    let macros = ["unloads! {", "refused! {"];
    let mut inside = macros.iter().filter_map(|it| text.split(it).nth(1)?.split("\n}").next());
    let word = |it: &str| it.split_whitespace().any(|word| word.trim_end_matches(':') == name);
    by_itself || inside.any(|it| it.lines().filter(|line| !line.contains("//")).any(word))
}

/// The file of a test's module, and the test's own name.
fn place(test: &str) -> (String, &str) {
    let (modules, name) = test.rsplit_once("::").expect("a module before the name");
    let (folder, modules) = match modules.strip_prefix("sdk::") {
        Some(modules) => ("plugin-api/src", modules),
        None => ("tests/it", modules),
    };
    (format!("{folder}/{}.rs", modules.replace("::", "/")), name)
}

#[test]
fn every_row_of_the_sdk_has_a_test() {
    let known: BTreeMap<_, _> = ROWS.into_iter().collect();
    assert_eq!(known.len(), ROWS.len(), "a row stands here twice");
    let sources = sources("plugin-api/src");
    let sources = sources.iter().filter(|(path, _)| !is_unit_test(path));
    let there: Vec<_> = sources.flat_map(|(_, text)| rows(text)).collect();
    let without = there.iter().filter(|row| !known.contains_key(*row));
    let gone = known.keys().filter(|row| !there.contains(row));
    let mut found: Vec<_> = without.map(|row| format!("no test: | {row} |")).collect();
    found.extend(gone.map(|row| format!("no such row: | {row} |")));
    for (row, tests) in &known {
        assert!(!tests.is_empty(), "no test: | {row} |");
        for test in *tests {
            let (file, name) = place(test);
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            if !has_test(&text, name) {
                found.push(format!("{file} has no test `{name}`, for | {row} |"));
            }
        }
    }
    assert_none(&found);
}

/// What is read here is read as it stands.
#[test]
fn rows_and_tests_are_found() {
    let text = "//! | what | how |\n//! |---|---|\n//! | one `a` | b |\n//!\n//! | none | c |\n";
    assert_eq!(rows(text), ["one `a`"]);
    let text = "#[test]\n#[track_caller]\nfn there() {}\n\nfn helper() {}\n\
                unloads! {\n    one two\n}\nrefused! {\n    /// An end.\n    three: 4 =\n}\n";
    for (name, is_there) in
        [("there", true), ("two", true), ("three", true), ("helper", false), ("An", false)]
    {
        assert_eq!(has_test(text, name), is_there, "{name}");
    }
}
