//! Every protocol, body, answer and client together, from one table.
//!
//! Owns the runs: many cells at a time against one host, and after each few of them the question
//! whether all of the host is still there. A cell that fails does not end the run before the others
//! of its batch, so that a report shows the kind of fault. With words in `HOTSEAT_EDGE_CELLS` only
//! the cells whose lines have all of them run (`Http2 Held Waits`).

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use hotseat_test_support::{Builder, Host};

use super::{ALIVE, edge};
use cell::{Answer, BODY_MAX, Cell, Client, LARGE, Protocol, SIZES, cells};

mod cell;
mod http1;
mod http2;
mod judge;

/// Cells at a time.
const CLIENTS: usize = 16;
/// Of those that mostly wait.
const IDLE_CLIENTS: usize = 32;
/// For how long a client takes nothing: several times the limit of its host.
const STOP_TIME: Duration = Duration::from_secs(3);
/// Between two looks at the host.
const BATCH: usize = 256;
/// More failures than this are told of no more.
const FAILURES_MAX: usize = 16;

/// All answers of a plugin that ends.
const ANSWERS: [Answer; 10] = [
    Answer::Bytes,
    Answer::Known,
    Answer::Chunked,
    Answer::Trailers,
    Answer::Empty,
    Answer::Back,
    Answer::Early,
    Answer::Error,
    Answer::Panic,
    Answer::Upgrade,
];

const CLIENTS_THAT_READ: [Client; 5] =
    [Client::Waits, Client::Resets, Client::Vanishes, Client::HalfCloses, Client::EndsEarly];

/// What went wrong with some cells, each in a line.
fn run_batch(host: &Host, batch: &[Cell]) -> Vec<String> {
    let idle = batch.iter().all(|cell| cell.client == Client::StopsReading);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..if idle { IDLE_CLIENTS } else { CLIENTS } {
            scope.spawn(|| {
                while let Some(cell) = batch.get(next.fetch_add(1, Relaxed)) {
                    let outcome = match cell.protocol {
                        Protocol::Http2 => http2::run(cell, host.data()),
                        Protocol::Http1 | Protocol::Http10 => http1::run(cell, host.data()),
                    };
                    if let Err(text) = outcome {
                        let mut failures = failures.lock().unwrap();
                        failures.push(format!("{cell}: {text}"));
                        if failures.len() >= FAILURES_MAX {
                            next.store(batch.len(), Relaxed);
                        }
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// As the variable narrows them down.
fn chosen(cells: &[Cell]) -> Vec<Cell> {
    let words = std::env::var("HOTSEAT_EDGE_CELLS").unwrap_or_default();
    let chosen = |cell: &&Cell| {
        let line = cell.to_string();
        words.split_whitespace().all(|word| line.split_whitespace().any(|it| it == word))
    };
    cells.iter().filter(chosen).copied().collect()
}

#[track_caller]
fn run(builder: Builder, cells: &[Cell]) {
    let cells = chosen(cells);
    let host = builder.start();
    let begun = Instant::now();
    for (number, batch) in cells.chunks(BATCH).enumerate() {
        let failures = run_batch(&host, batch);
        let turns = host.ask_threads(ALIVE);
        assert!(
            failures.is_empty() && turns.is_ok(),
            "batch {number} of {} cells: {turns:?}\n{}\n{}",
            cells.len(),
            failures.join("\n"),
            host.status()
        );
        host.assert_at_rest(ALIVE);
    }
    println!("{} cells in {:.1?}", cells.len(), begun.elapsed());
    let open = || {
        host.status()["connections"]
            .as_object()
            .map(|all| all.values().filter_map(serde_json::Value::as_u64).sum::<u64>())
    };
    hotseat_test_support::eventually!(open() == Some(0), "all gone: {}", host.status());
}

#[test]
fn http1() {
    run(edge(), &cells(&[Protocol::Http1], &SIZES, &ANSWERS, &CLIENTS_THAT_READ));
}

#[test]
fn http10() {
    run(edge(), &cells(&[Protocol::Http10], &SIZES, &ANSWERS, &CLIENTS_THAT_READ));
}

#[test]
fn http2() {
    run(edge(), &cells(&[Protocol::Http2], &SIZES, &ANSWERS, &CLIENTS_THAT_READ));
}

const ALL: [Protocol; 3] = [Protocol::Http1, Protocol::Http10, Protocol::Http2];

/// Bodies that no window and no buffer takes at once.
#[test]
fn large_bodies() {
    let clients = [Client::Waits, Client::Vanishes];
    run(edge(), &cells(&ALL, &[LARGE], &ANSWERS, &clients));
}

/// Before any plugin is asked, or after its time.
#[test]
fn answers_of_the_hosts_own() {
    let answers = [Answer::NoMount, Answer::Vacant, Answer::BadExpect, Answer::Timeout];
    let builder = edge().arg("--mount=/edge=edge").arg("--mount=/vacant=ghost");
    let builder = builder.arg("--plugin-time=250ms");
    let mut table = cells(&ALL, &SIZES, &answers, &CLIENTS_THAT_READ);
    table.extend(cells(&ALL, &[LARGE], &answers, &[Client::Waits]));
    run(builder, &table);
}

/// Bodies that are longer than is allowed, and nobody wants to see.
#[test]
fn too_large() {
    let limit = format!("--body-bytes={BODY_MAX}B");
    let sizes = [SIZES[1], SIZES[2], LARGE];
    let table = cells(&ALL, &sizes, &[Answer::TooLarge], &CLIENTS_THAT_READ);
    run(edge().arg(limit), &table);
}

/// Long answers that nobody takes are cut within `body_gap`, whatever became of the body.
#[test]
fn clients_that_stop_reading() {
    let answers = [Answer::Bytes, Answer::Known, Answer::Chunked];
    let mut table = cells(&ALL, &[SIZES[2]], &answers, &[Client::StopsReading]);
    table.extend(cells(&ALL, &[LARGE], &[Answer::Back], &[Client::StopsReading]));
    // The timer of a connection looks again after `header_time` at the latest.
    run(edge().arg("--body-gap=500ms").arg("--header-time=500ms"), &table);
}
