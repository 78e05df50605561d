//! Many clients in many rooms while versions come and go: nothing that was said is lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hotseat_test_support::{Host, eventually, procfs, stream::Came};

use super::{Member, builder, readers, swap};

/// Of each room, how many say something now and then.
const SPEAKERS: usize = 2;

/// What all clients of a crowd share.
#[derive(Default)]
struct Hall {
    /// How often somebody has come, or come back.
    joined: AtomicUsize,
    /// Messages that were sent, by room.
    sent: Vec<AtomicUsize>,
    /// Nobody speaks any more; whoever has heard everything is done.
    quiet: AtomicBool,
}

struct Crowd {
    hall: Arc<Hall>,
    clients: Vec<JoinHandle<Client>>,
}

/// One client, and with which codes its sockets have ended.
struct Client {
    hall: Arc<Hall>,
    address: SocketAddr,
    number: usize,
    room: usize,
    pace: Duration,
    codes: Vec<u16>,
}

impl Crowd {
    fn start(host: &Host, clients: usize, rooms: usize, pace: Duration) -> Self {
        let sent = (0..rooms).map(|_| AtomicUsize::new(0)).collect();
        let hall = Arc::new(Hall { sent, ..Hall::default() });
        let address = host.data();
        let clients = (0..clients).map(|number| {
            let (hall, room, codes) = (hall.clone(), number % rooms, Vec::new());
            let client = Client { hall, address, number: number / rooms, room, pace, codes };
            // Hundreds of them.
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn(move || client.run()).unwrap()
        });
        Self { clients: clients.collect(), hall }
    }

    #[track_caller]
    fn wait_joined(&self, count: usize) {
        let joined = || self.hall.joined.load(SeqCst);
        eventually!(joined() >= count, "{} of {count} have come", joined());
    }

    fn sent(&self) -> usize {
        self.hall.sent.iter().map(|it| it.load(SeqCst)).sum()
    }

    /// Waits until `more` messages were sent.
    #[track_caller]
    fn wait_sent(&self, more: usize) {
        let goal = self.sent() + more;
        eventually!(self.sent() >= goal, "{more} more messages");
    }

    /// Until everybody has heard everything; how each client's sockets have ended.
    #[track_caller]
    fn finish(self) -> Vec<Vec<u16>> {
        self.hall.quiet.store(true, SeqCst);
        self.clients.into_iter().map(|it| it.join().expect("see above").codes).collect()
    }
}

impl Client {
    fn run(mut self) -> Self {
        let (room, number) = (self.room, self.number);
        let target = format!("/chat/rooms/r{room}/socket?name=c{number}");
        let mut member = Member::open(&target, self.address).unwrap();
        self.hall.joined.fetch_add(1, SeqCst);
        // Not all at the same moment.
        let mut due = Instant::now() + self.pace.mul_f64((room % 10) as f64 / 10.0);
        let (mut count, mut quiet_at) = (0, None);
        loop {
            let quiet = self.hall.quiet.load(SeqCst);
            if !quiet && number < SPEAKERS && Instant::now() >= due {
                due = Instant::now() + self.pace;
                // Before it is sent: nobody may think that there are no more.
                self.hall.sent[room].fetch_add(1, SeqCst);
                member.socket.send(&format!("message {count}")).unwrap();
                count += 1;
            }
            let sent = self.hall.sent[room].load(SeqCst);
            if quiet && member.last == u64::try_from(sent).unwrap() {
                break;
            }
            if quiet {
                let since = *quiet_at.get_or_insert_with(Instant::now);
                let time = hotseat_test_support::patience();
                assert!(since.elapsed() < time, "r{room} c{number}: {} of {sent}", member.last);
            }
            let wait = if number < SPEAKERS { self.pace / 10 } else { Duration::from_millis(200) };
            let Some(came) = member.socket.receive_within(wait).unwrap() else { continue };
            match member.note(came) {
                Ok(()) => {}
                Err(Came::Close(code)) => {
                    self.codes.push(code);
                    member.come_back(&target, self.address).unwrap();
                    self.hall.joined.fetch_add(1, SeqCst);
                }
                Err(other) => panic!("r{room} c{number}: {other:?}"),
            }
        }
        self.check(&member, count);
        self
    }

    /// Each speaker's messages are there, once and in their order.
    fn check(&self, member: &Member, own: usize) {
        assert_eq!(member.missed, 0);
        for speaker in 0..SPEAKERS {
            let begin = format!("c{speaker}: message ");
            let said = member.heard.iter().filter_map(|it| it.strip_prefix(&begin));
            let said: Vec<usize> = said.map(|it| it.parse().unwrap()).collect();
            assert!(said.iter().copied().eq(0..said.len()), "c{speaker}: {said:?}");
            assert!(speaker != self.number || said.len() == own, "{} of {own}", said.len());
        }
    }
}

/// 500 WebSockets in 20 rooms: the swap closes each with 1012 within the drain, each comes back to its
/// room as it is, and hears on. No message is lost or comes twice, also none that was sent while its
/// socket was being closed.
#[test]
fn nothing_is_lost_when_a_version_goes() {
    let settings = "history = 200\nmessage_bytes = 64\nping_seconds = 60\nspread_ms = 500";
    let host = builder(settings).arg("--generation-drain=30s").start();
    let crowd = Crowd::start(&host, 500, 20, Duration::from_millis(400));
    crowd.wait_joined(500);
    crowd.wait_sent(100);
    let (mut events, generation) = (host.events(), host.active("chat"));
    let begin = Instant::now();
    swap(&host, 2);
    events.wait_generation(generation, "unloaded");
    let drained = begin.elapsed();
    assert!(drained < Duration::from_secs(30), "the drain took {drained:?}");
    crowd.wait_joined(1000);
    crowd.wait_sent(200);
    let sent = crowd.sent();
    assert_eq!(readers(&host), 500);
    let codes = crowd.finish();
    assert!(codes.iter().all(|it| it == &[1012]), "{codes:?}");
    println!("500 sockets, {sent} messages, swapped and drained in {drained:?}");
}

/// Versions come and go under requests and sockets: none fails, all unload, nothing is left of them.
#[test]
fn many_versions_leave_nothing() {
    let slow = std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1");
    let swaps = if slow { 300 } else { 40 };
    let settings = "history = 200\nmessage_bytes = 64\nping_seconds = 60\nspread_ms = 0";
    let host = builder(settings).start();
    let worker = host.worker_pid();
    let crowd = Crowd::start(&host, 8, 2, Duration::from_millis(50));
    let traffic = host.traffic("/chat");
    let measure = || {
        host.assert_all_unloaded("chat");
        (procfs::descriptors(worker), procfs::threads(worker), procfs::rss_kib(worker))
    };
    let mut before = None;
    for version in 0..swaps {
        crowd.wait_joined(8 * (version + 1));
        traffic.wait_for(6);
        if version == 10 {
            before = Some(measure());
        }
        swap(&host, version + 2);
    }
    crowd.wait_joined(8 * (swaps + 1));
    let (before, after) = (before.unwrap(), measure());
    let sent = crowd.sent();
    let codes = crowd.finish();
    let requests: u64 = traffic.finish().values().sum();
    assert!(codes.iter().all(|it| it == &vec![1012; swaps]), "{codes:?}");
    assert_eq!(host.worker_pid(), worker);
    println!("{swaps} swaps, {sent} messages, {requests} requests: {before:?}, {after:?} KiB");
    // A connection of the traffic is open or is not.
    assert!(after.0 <= before.0 + 4 && after.1 <= before.1, "{before:?} to {after:?}");
}
