//! The acts, each with what it must come to.
//!
//! Owns the libraries that are posted, and which worker an act dooms.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hotseat_test_support::{Answer, Connection, fault, library, patience::breathe};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    drive::{ANSWER_TIME, Driver, TURN_TIME},
    schedule::Condition,
};

/// An order takes no longer because nobody reads the log.
const ORDER_TIME: Duration = Duration::from_secs(3);
/// Connections whose answers nobody waits for.
const HELD_COUNT: usize = 8;

impl Driver {
    fn new_library(&mut self) -> (String, Vec<u8>) {
        self.number += 1;
        let bytes = [self.library.as_slice(), &self.number.to_le_bytes()].concat();
        (self.number.to_string(), bytes)
    }

    pub(crate) fn swap(&mut self) -> anyhow::Result<()> {
        let (label, bytes) = self.new_library();
        let path = self.seat.home().write(&format!("libhandler_v{label}.so"), &bytes);
        let body = json!({ "path": path }).to_string();
        self.order("/v1/deploys", &body, Some(&label));
        Ok(std::fs::remove_file(path)?)
    }

    pub(crate) fn again(&mut self, force: bool) -> anyhow::Result<()> {
        let Some(label) = self.allowed.iter().next().filter(|_| self.allowed.len() == 1) else {
            return Ok(());
        };
        let (label, number) = (label.clone(), label.parse::<u64>()?);
        let bytes = [self.library.as_slice(), &number.to_le_bytes()].concat();
        let path = self.seat.home().write(&format!("libhandler_v{label}.so"), &bytes);
        let body = json!({ "path": path, "force": force }).to_string();
        self.order("/v1/deploys", &body, Some(&label));
        Ok(std::fs::remove_file(path)?)
    }

    /// A request to the control plane, which no reader of the log may hold up.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> std::io::Result<Answer> {
        let begun = Instant::now();
        let asked = self.seat.ask(method, target, body);
        let took = begun.elapsed();
        if took > ORDER_TIME && self.conditions.contains(&Condition::Unread) {
            self.breaks(format!("{target} took {took:.1?} while nobody read the log"));
        }
        asked
    }

    /// An order that concerns `handler`, and what it means for what serves.
    pub(crate) fn order(&mut self, target: &str, body: &str, label: Option<&str>) {
        match self.ask("POST", target, body) {
            Ok(answer) if answer.status == 200 => {
                let json = answer.json();
                let said = json["label"].as_str().or(label).unwrap_or_default().to_owned();
                self.acknowledged += 1;
                self.allowed = BTreeSet::from([said]);
            }
            Ok(answer) => self.refuses(&answer),
            Err(error) => {
                self.allowed.extend(label.map(ToOwned::to_owned));
                self.breaks(format!("{target} has no answer: {error}"));
            }
        }
    }

    fn refuses(&mut self, answer: &Answer) {
        let text = answer.text();
        let line = text.lines().collect::<Vec<_>>().join(" ");
        self.note(format!("refused: {} {line}", answer.status));
        self.refused += 1;
        if answer.status == 409 {
            return;
        }
        let state = self.conditions.iter().any(|condition| condition.needs_disk());
        if !(state || answer.status == 422) {
            self.breaks(format!("a good order is refused: {} {line}", answer.status));
        }
    }

    /// A file in the folder is no order that is answered: what it comes to is waited for.
    pub(crate) fn drop_in(&mut self) -> anyhow::Result<()> {
        if self.conditions.iter().any(|condition| condition.needs_disk()) {
            return Ok(());
        }
        let (label, bytes) = self.new_library();
        let staged = self.seat.home().write("staged", &bytes);
        let name = format!("libhandler_v{label}.so");
        std::fs::rename(staged, self.seat.home().plugins().join(&name))?;
        self.allowed.insert(label.clone());
        let end = Instant::now() + TURN_TIME;
        while self.serves() != Some(label.clone()) {
            if Instant::now() > end {
                self.breaks(format!("`{name}` in the plugins folder is not deployed"));
                return Ok(());
            }
            breathe(Duration::from_millis(10));
        }
        self.allowed = BTreeSet::from([label]);
        Ok(std::fs::remove_file(self.seat.home().plugins().join(&name))?)
    }

    pub(crate) fn bad(&mut self, name: &str) -> anyhow::Result<()> {
        let path = self.seat.home().place(&fault(name), "libhandler_v0.so");
        let answer = self.ask("POST", "/v1/deploys", &json!({ "path": path }).to_string());
        match answer {
            Ok(answer) if answer.status == 200 => self.breaks(format!("`{name}` was deployed")),
            Ok(_) => self.refused += 1,
            Err(error) => self.breaks(format!("the order with `{name}` has no answer: {error}")),
        }
        Ok(std::fs::remove_file(path)?)
    }

    pub(crate) fn upgrade(&mut self) {
        match self.ask("POST", "/v1/upgrade", &json!({ "wait": "commit" }).to_string()) {
            Ok(answer) => {
                let text = answer.text();
                let said = text.lines().map(str::trim).collect::<String>();
                self.note(format!("upgrade: {} {said}", answer.status));
            }
            Err(error) => self.breaks(format!("the upgrade has no answer: {error}")),
        }
    }

    pub(crate) fn kill_worker(&mut self) {
        let Some(pid) = self.seat.worker() else { return };
        self.fate.doom(pid);
        if self.seat.signal(pid, Signal::KILL).is_err() {
            self.fate.spare(pid);
        }
        self.wait_over(pid);
    }

    pub(crate) fn kill_master(&mut self) -> anyhow::Result<()> {
        self.count_dropped();
        self.fate.outage();
        self.seat.kill_master()?;
        self.masters += 1;
        self.supervise()
    }

    /// Puts a test plugin at `/bad`; `false`: it was refused.
    fn place_bad(&mut self, name: &str) -> anyhow::Result<bool> {
        self.number += 1;
        let file = format!("libbad_v{}.so", self.number);
        let bytes = [library::bytes(&fault(name)), self.number.to_le_bytes().to_vec()].concat();
        let path = self.seat.home().write(&file, &bytes);
        let answer = self.ask("POST", "/v1/deploys", &json!({ "path": path }).to_string());
        std::fs::remove_file(path)?;
        match answer {
            Ok(answer) if answer.status == 200 => Ok(true),
            Ok(answer) => {
                self.refuses(&answer);
                Ok(false)
            }
            Err(error) => {
                self.breaks(format!("the deploy of `{name}` has no answer: {error}"));
                Ok(false)
            }
        }
    }

    /// Nobody waits for its answer.
    fn hold(&mut self, connection: Connection) {
        self.held.push_back(connection);
        if self.held.len() > HELD_COUNT {
            self.held.pop_front();
        }
    }

    /// A connection to `/bad`, and which worker has it.
    fn reach_bad(&mut self) -> anyhow::Result<(Connection, u32)> {
        let mut connection = Connection::open(self.seat.data).context("connect")?;
        connection.bound(ANSWER_TIME)?;
        let answer = connection.get("/bad/").context("ask a plugin that is to fail")?;
        let text = answer.text();
        let last = text.split_whitespace().next_back().and_then(|word| word.parse().ok());
        let pid = last.with_context(|| format!("a process id, not `{text}`"))?;
        Ok((connection, pid))
    }

    /// Has a plugin do something to its worker, which is doomed by it.
    fn ruin(&mut self, name: &str, target: &str) -> anyhow::Result<Option<u32>> {
        if !self.place_bad(name)? {
            return Ok(None);
        }
        let (mut connection, pid) = match self.reach_bad() {
            Ok(reached) => reached,
            Err(error) => {
                self.breaks(format!("`{name}` was deployed and does not answer: {error:#}"));
                return Ok(None);
            }
        };
        self.fate.doom(pid);
        connection.send_request("GET", target, "")?;
        self.hold(connection);
        Ok(Some(pid))
    }

    pub(crate) fn crash(&mut self, how: &str) -> anyhow::Result<()> {
        let Some(pid) = self.ruin("crash", &format!("/bad/crash?how={how}"))? else {
            return Ok(());
        };
        self.wait_over(pid);
        if !self.fate.is_over(pid) {
            self.breaks(format!("worker {pid} has not ended by `{how}`"));
        }
        Ok(())
    }

    pub(crate) fn hang(&mut self) -> anyhow::Result<()> {
        if self.place_bad("hangs_call")? {
            let mut connection = Connection::open(self.seat.data).context("connect")?;
            connection.send_request("GET", "/bad/", "")?;
            self.hold(connection);
        }
        Ok(())
    }

    /// The worker is replaced in good order, and ends with what its thread held.
    pub(crate) fn stand(&mut self) -> anyhow::Result<()> {
        self.ruin("stands_still", "/bad/loop")?;
        Ok(())
    }

    fn wait_over(&mut self, pid: u32) {
        let end = Instant::now() + TURN_TIME;
        while !self.fate.is_over(pid) && Instant::now() < end {
            breathe(Duration::from_millis(2));
        }
    }
}
