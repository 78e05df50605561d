//! Two planes with one real plugin, and clients that notice everything.

mod closing;
mod handover;
mod shut;
mod thin;
mod turning;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hotseat_test_support::{Answer, Connection, Gate, eventually, fault};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::{
    artifact,
    config::Listen,
    event::Events,
    ids::{Generation, PluginName, Version},
    plugin::{
        blocking::BlockingPool,
        library::LoadRequest,
        load::load,
        reaper::{GRACE, Reaper, ReaperRules},
        services::{MetricSink, Services},
    },
    route::{Loaded, Roster, Table},
    serve::{Plane, Socket, bind},
    status::{Address, Beside},
    sys::private::PrivateFile,
};

struct Nowhere;

impl MetricSink for Nowhere {
    fn record(&self, _: &PluginName, _: u32, _: &str, _: &[(&str, &str)], _: f64) {}

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

/// The `gate` plugin at `/`.
fn routes() -> Arc<Routes> {
    // Loaded once a process and never unloaded.
    static LOADED: OnceLock<(Arc<Loaded>, Mutex<Reaper>)> = OnceLock::new();
    routes_to(LOADED.get_or_init(|| load_fault("gate")).0.clone())
}

/// A plugin at `/`.
fn routes_to(loaded: Arc<Loaded>) -> Arc<Routes> {
    let routes = Arc::new(Routes::default());
    let active = BTreeMap::from([(loaded.plugin.clone(), Some(loaded))]);
    routes.store(Table::build(&[], &active));
    routes
}

fn load_fault(name: &str) -> (Arc<Loaded>, Mutex<Reaper>) {
    let timer = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = timer.handle().clone();
    std::thread::spawn(move || timer.block_on(std::future::pending::<()>()));
    let path = fault(name);
    let digest = artifact::digest(&std::fs::read(&path).unwrap());
    let version = Version { generation: Generation(1), label: "1".parse().unwrap(), digest };
    let plugin: PluginName = "handler".parse().unwrap();
    let request = LoadRequest {
        path,
        plugin: plugin.clone(),
        label: version.label.clone(),
        generation: version.generation,
        settings: crate::config::plugin::PluginSettings::default(),
        services: Services::new(
            Arc::new(Nowhere),
            handle,
            Arc::new(BlockingPool::start(1, 1).unwrap()),
        ),
        tried: Vec::new(),
        load_time: Duration::from_secs(10),
    };
    let instance = load(request, Arc::new(drop)).unwrap();
    let rules = ReaperRules {
        never: Some("the test ends with its process".to_owned()),
        stop_time: Duration::from_secs(1),
        purge_time: Duration::from_secs(1),
        grace: GRACE,
    };
    let reaper = Reaper::start(rules, |_| ()).unwrap();
    let hands = (reaper.handle(), Roster::new(1, Events::new(1)));
    // The reaper would remove the file that it is told: none.
    let parts = (instance, PrivateFile::on_disk(PathBuf::new()));
    let loaded = Loaded::new(plugin, version, parts, Default::default(), hands);
    (Arc::new(loaded), Mutex::new(reaper))
}

/// A plane with two threads that says its name at `/health/readyz`.
fn plane(name: &str, limits: Limits) -> DataPlane {
    let health_path = Some("/health".to_owned());
    let config = Config { limits, threads: 2, health_path, ..Config::default() };
    let health = Health { status: 200, text: name.to_owned() };
    let health = HealthSource {
        ask: Arc::new(move || health.clone()),
        first_step: "curl 127.0.0.1:1 -d ./libhandler_v1.so".into(),
    };
    DataPlane::start(&config, &routes(), &Tally::default(), &health).unwrap()
}

/// Long enough that no test sees it pass unless it wants to.
fn patient() -> Limits {
    Limits { idle_linger: Duration::from_secs(60), ..Limits::default() }
}

fn listen() -> (Vec<Socket>, SocketAddr) {
    let socket = bind(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), Plane::Data).unwrap();
    let Address::Tcp(address) = socket.address().unwrap() else { unreachable!("it is TCP") };
    (vec![socket], address)
}

/// A plane that accepts, one that does not yet, and the way between them.
struct Pair {
    before: DataPlane,
    after: DataPlane,
    address: SocketAddr,
    sockets: Vec<Socket>,
}

impl Pair {
    fn new() -> Self {
        Self::with(plane("before", patient()), plane("after", patient()))
    }

    fn with(before: DataPlane, after: DataPlane) -> Self {
        let (sockets, address) = listen();
        before.accept(&sockets).unwrap();
        Self { before, after, address, sockets }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    /// The new plane accepts, the one before it gives up what it has.
    fn hand_over(&self) {
        self.after.accept(&self.sockets).unwrap();
        assert!(self.before.park());
        let (here, there) = datagrams();
        self.after.take_over(there).unwrap();
        self.before.drain(Drain { successor: Some(here) }).unwrap();
    }

    #[track_caller]
    fn wait_all_gone(&self, count: usize) {
        eventually!(
            self.before.connection_count() == 0,
            "nothing is left: {:?}",
            self.before.classes()
        );
        eventually!(self.after.connection_count() == count, "{:?}", self.after.classes());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.before.end();
        self.after.end();
    }
}

fn datagrams() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// The answer of the plane `name`, which does not end the connection.
#[track_caller]
fn check_from(answer: &Answer, name: &str) {
    answer.assert_status(200);
    assert_eq!(answer.text(), name);
    assert_eq!(answer.header("connection"), None, "the connection is to stay");
}

#[track_caller]
fn check_who(connection: &mut Connection, name: &str) {
    check_from(&connection.get("/health/readyz").unwrap(), name);
}
