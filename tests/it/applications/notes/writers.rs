//! Clients that write notes, never twice, and know what was said about each.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use hotseat_test_support::{Connection, eventually};
use serde_json::json;

use super::send;

/// The texts of notes, by what their clients were told.
#[derive(Default)]
pub(super) struct Told {
    /// 201: it is there.
    pub(super) made: Vec<String>,
    /// 503: it is not.
    pub(super) refused: Vec<String>,
    /// Nothing, because the worker was killed: it is there or not, but never twice.
    pub(super) unknown: Vec<String>,
    /// Anything else.
    pub(super) wrong: Vec<String>,
}

pub(super) struct Writers {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Told>>,
}

impl Writers {
    /// So many clients of each of the targets, each with one connection at a time.
    pub(super) fn start(address: SocketAddr, targets: &[&str], count: usize) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let clients = targets.iter().flat_map(|target| (0..count).map(move |it| (target, it)));
        let threads = clients.map(|(target, client)| {
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            let target = (*target).to_owned();
            std::thread::spawn(move || {
                let (mut told, mut kept) = (Told::default(), None);
                let mut number = 0;
                while !ended.load(Relaxed) {
                    let text = format!("{target} {client} {number}");
                    write(address, &target, text, &mut kept, &mut told);
                    answered.fetch_add(u64::from(kept.is_some()), Relaxed);
                    number += 1;
                }
                told
            })
        });
        let threads = threads.collect();
        Self { ended, answered, threads }
    }

    /// Waits for `more` further answers.
    #[track_caller]
    pub(super) fn wait_for(&self, more: u64) {
        let goal = self.answered.load(Relaxed) + more;
        eventually!(self.answered.load(Relaxed) >= goal, "{more} more answers");
    }

    pub(super) fn finish(self) -> Told {
        self.ended.store(true, Relaxed);
        let mut all = Told::default();
        for thread in self.threads {
            let mut told = thread.join().unwrap();
            all.made.append(&mut told.made);
            all.refused.append(&mut told.refused);
            all.unknown.append(&mut told.unknown);
            all.wrong.append(&mut told.wrong);
        }
        all
    }
}

/// One note. The connection is kept while it is good.
fn write(
    address: SocketAddr,
    target: &str,
    text: String,
    kept: &mut Option<Connection>,
    told: &mut Told,
) {
    let body = json!({ "text": text }).to_string();
    let mut connection = match kept.take().map_or_else(|| Connection::open(address), Ok) {
        Ok(connection) => connection,
        Err(error) => return told.wrong.push(format!("connect: {error}")),
    };
    match send(&mut connection, "POST", target, &body) {
        Ok(answer) => {
            let closes = answer.header("connection").is_some_and(|it| it.contains("close"));
            *kept = (!closes).then_some(connection);
            match answer.status {
                201 => told.made.push(text),
                503 => told.refused.push(text),
                status => told.wrong.push(format!("{status}: {}", answer.text())),
            }
        }
        Err(_) => told.unknown.push(text),
    }
}
