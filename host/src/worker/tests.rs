//! Workers without plugins that take turns, as a master would have them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
};

use super::*;
use crate::{
    config::Listen,
    deploy::record::Commit,
    error::Coded as _,
    ids::{Digest, Generation, PluginName},
    serve::{Plane, bind},
    state::Numbers,
    status::Address,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn sockets() -> Sockets {
    let one = || vec![bind(&Listen::Tcp(([127, 0, 0, 1], 0).into()), Plane::Data).unwrap()];
    Sockets { data: one(), control: one(), health: one() }
}

/// What a master keeps.
fn copy(sockets: &Sockets) -> Sockets {
    let all = |it: &[Socket]| it.iter().map(|it| it.try_clone().unwrap()).collect();
    let Sockets { data, control, health } = sockets;
    Sockets { data: all(data), control: all(control), health: all(health) }
}

fn start(folder: &Path, sockets: &Sockets, birth: Birth) -> Worker {
    let mut config = Config { plugins_dir: Some(folder.join("plugins")), ..Config::default() };
    (config.threads, config.state_dir) = (1, folder.join("state"));
    config.limits.freeze_time = Duration::from_secs(5);
    std::fs::create_dir_all(&config.state_dir).unwrap();
    let state = StateDir::held_by_master(config.state_dir.clone(), None, None);
    Worker::start(config, copy(sockets), state, birth, &Halt::default()).unwrap()
}

fn successor() -> Birth {
    Birth { first: false, ..Birth::alone() }
}

/// One connection that is kept.
struct Client(TcpStream);

impl Client {
    fn connect(socket: &Socket) -> Self {
        let Address::Tcp(address) = socket.address().unwrap() else { panic!("TCP") };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> &mut Self {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}");
        self.0.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        self
    }

    /// An answer with a known length.
    fn answer(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let whole = String::from_utf8_lossy(&text).to_lowercase();
            if let Some((head, body)) = whole.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).expect("a length");
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    return String::from_utf8(text).unwrap();
                }
            }
            let mut piece = [0; 4096];
            let count = self.0.read(&mut piece).unwrap();
            assert!(count > 0, "the answer is whole: {whole}");
            text.extend_from_slice(&piece[..count]);
        }
    }

    /// Nothing to wait for tells that nothing comes; an answer takes far less than this.
    fn hears_nothing(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let heard = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        heard.is_err()
    }
}

#[test]
fn a_successor_is_silent_until_it_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let worker = start(folder.path(), &sockets, successor());
    let mut clients = [&sockets.data[0], &sockets.control[0], &sockets.health[0]].map(|socket| {
        let mut client = Client::connect(socket);
        client.send("GET", "/readyz", "");
        client
    });
    assert!(clients.iter_mut().all(Client::hears_nothing));
    assert_eq!(worker.freeze().unwrap_err().code(), "not_serving");
    worker.accept().unwrap();
    for (client, status) in clients.iter_mut().zip(["503", "503", "503"]) {
        let answer = client.answer();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert!(worker.accept().is_err(), "once");
    worker.begin_stop();
    worker.end();
}

#[test]
fn the_first_worker_answers_while_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let worker = start(folder.path(), &sockets, Birth::alone());
    let answer = Client::connect(&sockets.control[0]).send("GET", "/v1/status", "").answer();
    assert!(answer.contains("\"booting\""), "{answer}");
    worker.begin_stop();
    worker.end();
}

#[test]
fn what_comes_to_a_frozen_worker_waits_for_whoever_accepts_next() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let worker = start(folder.path(), &sockets, Birth::alone());
    worker.accept().unwrap();
    let mut here = Client::connect(&sockets.control[0]);
    here.send("GET", "/livez", "").answer();
    assert!(worker.freeze().unwrap().carried.is_empty(), "nothing is in traffic");
    assert_eq!(worker.freeze().unwrap_err().code(), "not_serving");
    // It shows what is true, and changes nothing.
    assert!(here.send("GET", "/v1/status", "").answer().contains("\"serving\""));
    let health = Client::connect(&sockets.health[0]).send("GET", "/livez", "").answer();
    assert!(health.ends_with("alive\n"), "{health}");
    here.send("POST", "/", "./nobody.so");
    let mut late = Client::connect(&sockets.control[0]);
    late.send("GET", "/version", "");
    assert!(here.hears_nothing() && late.hears_nothing());
    worker.thaw();
    let answer = here.answer();
    assert!(answer.contains("file_missing"), "{answer}");
    late.answer();
    worker.begin_stop();
    worker.end();
}

#[test]
fn a_frozen_worker_that_stops_answers_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let worker = start(folder.path(), &sockets, Birth::alone());
    worker.accept().unwrap();
    worker.freeze().unwrap();
    let mut late = Client::connect(&sockets.control[0]);
    late.send("POST", "/", "./nobody.so");
    assert!(late.hears_nothing());
    worker.begin_stop();
    let answer = late.answer();
    assert!(answer.contains("stopping") || answer.contains("file_missing"), "{answer}");
    worker.end();
}

#[test]
fn a_parked_worker_passes_everything_on_and_can_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let first = start(folder.path(), &sockets, Birth::alone());
    first.accept().unwrap();
    let [mut here, mut there] = [(); 2].map(|()| {
        let mut client = Client::connect(&sockets.control[0]);
        client.send("GET", "/livez", "").answer();
        client
    });
    first.freeze().unwrap();
    let second = start(folder.path(), &sockets, Birth { lame_duck: true, ..successor() });
    first.park(&[]).unwrap();
    second.accept().unwrap();
    let answer = here.send("GET", "/v1/status", "").answer();
    assert!(answer.contains("\"lame_duck\""), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    second.begin_stop();
    second.end();
    first.resume(Regained::default()).unwrap();
    let answer = there.send("GET", "/v1/status", "").answer();
    assert!(answer.contains("\"serving\""), "{answer}");
    let data = Client::connect(&sockets.data[0]).send("GET", "/", "").answer();
    assert!(data.contains("empty_host"), "{data}");
    Client::connect(&sockets.control[0]).send("GET", "/livez", "").answer();
    assert!(first.freeze().is_ok(), "it is the one again");
    first.begin_stop();
    first.end();
}

/// The successor never accepted, but it has written: that is read, and its numbers are not given
/// again.
#[test]
fn a_frozen_worker_goes_on_with_what_its_successor_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let first = start(folder.path(), &sockets, Birth::alone());
    first.accept().unwrap();
    first.freeze().unwrap();
    let second = start(folder.path(), &sockets, successor());
    let plugin: PluginName = "a".parse().unwrap();
    let commit = Commit {
        generation: second.record.take_generation(),
        digest: Digest([5; 32]),
        label: "1".parse().unwrap(),
        target: None,
        file: None,
    };
    second.record.commit(&plugin, commit).unwrap();
    second.drain(None, Duration::ZERO);
    second.end();
    let next = Some(Numbers { orders: 9, generations: 7, events: 0 });
    first.resume(Regained { next, ..Regained::default() }).unwrap();
    let committed = first.record.committed().remove(&plugin).unwrap_or_default();
    assert_eq!(committed.first().map(|it| it.generation), Some(Generation(1)));
    assert_eq!(first.record.take_generation(), Generation(7));
    assert_eq!(first.desk.next_number(), 9);
    let mut client = Client::connect(&sockets.data[0]);
    assert!(client.send("GET", "/", "").answer().starts_with("HTTP/1.1 "), "it never let go");
    assert!(first.freeze().is_ok(), "it is the one again");
    drop(client);
    first.drain(None, Duration::ZERO);
    first.end();
}

#[test]
fn a_worker_that_drains_sends_its_clients_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let first = start(folder.path(), &sockets, Birth::alone());
    first.accept().unwrap();
    let mut here = Client::connect(&sockets.control[0]);
    here.send("GET", "/livez", "").answer();
    first.freeze().unwrap();
    let second = start(folder.path(), &sockets, successor());
    first.park(&[]).unwrap();
    second.accept().unwrap();
    first.drain(None, Duration::from_secs(1));
    let answer = here.send("POST", "/", "./nobody.so").answer();
    assert!(answer.contains("file_missing"), "{answer}");
    // Only one of the two is left to accept.
    for _ in 0..8 {
        Client::connect(&sockets.control[0]).send("GET", "/livez", "").answer();
    }
    first.end();
    second.begin_stop();
    second.end();
}

#[test]
fn counters_go_on_in_the_next_worker() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let first = start(folder.path(), &sockets, Birth::alone());
    first.accept().unwrap();
    let refused = |socket| Client::connect(socket).send("POST", "/", "./nobody.so").answer();
    refused(&sockets.control[0]);
    first.freeze().unwrap();
    let counters = first.counters();
    let birth = Birth { counters: Some(counters.clone()), ..successor() };
    let second = start(folder.path(), &sockets, birth);
    first.park(&[]).unwrap();
    second.accept().unwrap();
    refused(&sockets.control[0]);
    second.add_counters(&first.counters_since(&counters));
    let page = Client::connect(&sockets.control[0]).send("GET", "/metrics", "").answer();
    let line = r#"hotseat_orders_total{verb="deploy",outcome="file_missing"} 2"#;
    assert!(page.contains(line), "{page}");
    for worker in [first, second] {
        worker.begin_stop();
        worker.end();
    }
}
