//! Looks one by one, on a clock that moves as the looks ask for.

use std::{
    fs::{self, File},
    io::Write as _,
    time::Duration,
};

use super::*;
use crate::{
    artifact::digest,
    config::Watch,
    deploy::{
        condition::Condition,
        desk::{Trial, Work},
        order::Order,
    },
    watch::tests::Memory,
};

const DEBOUNCE: Duration = Duration::from_millis(30);
const RESCAN: Duration = Duration::from_millis(500);
const CONTENT: &[u8] = b"one";

struct Fixture {
    _temporary: tempfile::TempDir,
    dir: PathBuf,
    desk: Desk,
    memory: Arc<Memory>,
    round: Round,
    now: Instant,
}

fn fixture(queue: usize) -> Fixture {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("plugins");
    fs::create_dir(&dir).unwrap();
    let events = Events::new(64);
    let desk = Desk::new(queue, events.clone());
    let memory = Arc::new(Memory::default());
    let config = WatchConfig {
        dir: dir.clone(),
        serves: false,
        mode: Watch::Events,
        follow_links: false,
        debounce: DEBOUNCE,
        rescan: RESCAN,
        library_bytes: 1 << 20,
    };
    let store = Arc::clone(&memory) as Arc<dyn SeenStore>;
    let round = Round::new(config, Arc::default(), desk.clone(), store, events);
    Fixture { _temporary: temporary, dir, desk, memory, round, now: Instant::now() }
}

impl Fixture {
    /// A file that a process before this one has looked at.
    fn known(&self, name: &str, fate: Fate) -> PathBuf {
        let path = self.dir.join(name);
        File::create(&path).unwrap().write_all(CONTENT).unwrap();
        let Stamp { inode, size, mtime_ns, ctime_ns } =
            Stamp::of(&rustix::fs::lstat(&path).unwrap());
        let digest = digest(CONTENT);
        let seen = Seen { inode, size, mtime_ns, ctime_ns: Some(ctime_ns), digest, fate };
        self.memory.remember(&path, Some(seen));
        path
    }

    fn waiting(&self, name: &str) -> PathBuf {
        self.known(name, Fate::Waits("dlopen_failed".to_owned()))
    }

    /// One look; the next one is when it asks for it.
    #[track_caller]
    fn look(&mut self) {
        let net = self.now + RESCAN;
        let next = self.round.run(self.now, true).unwrap_or(net).min(net);
        assert!(next >= self.now + DEBOUNCE, "the next look may wait: {:?}", next - self.now);
        self.now = next;
    }

    fn submit(&self) {
        let order = Order::Rollback { plugin: None, to: None, condition: Condition::None };
        self.desk.submit(order).unwrap();
    }

    /// The trial that waits at the desk.
    #[track_caller]
    fn trial(&self) -> Trial {
        match self.desk.next() {
            Some(Work::Trial(trial)) => trial,
            work => panic!("no trial: {work:?}"),
        }
    }
}

/// What a waiting file can come up against while nobody answers.
#[test]
fn whatever_a_file_waits_for_looks_are_paced() {
    type Prepare = fn(&mut Fixture);
    let table: [(&str, usize, Prepare); 9] = [
        ("one trial", 4, |_| ()),
        ("a trial behind another one", 4, |it| drop(it.waiting("libb_v1.so"))),
        ("a trial behind an order", 4, |it| it.submit()),
        ("a desk that stops", 4, |it| it.desk.close()),
        ("a desk that is frozen", 4, |it| it.desk.freeze()),
        ("a desk that nobody attends to", 4, |it| {
            let desk = it.desk.clone();
            let panics = std::thread::spawn(move || {
                let _attendant = desk.attend();
                panic!("as a bug would");
            });
            assert!(panics.join().is_err());
        }),
        ("an order that is not answered", 4, |it| {
            it.look();
            it.trial().answer(Ok(()));
            it.look();
            assert_eq!(it.desk.orders().len(), 1);
        }),
        ("an order for a full queue", 1, |it| {
            it.look();
            it.trial().answer(Ok(()));
            it.submit();
        }),
        ("an order for a desk that stops", 1, |it| {
            it.look();
            it.trial().answer(Ok(()));
            it.desk.close();
        }),
    ];
    for (what, queue, prepare) in table {
        let mut fixture = fixture(queue);
        fixture.waiting("liba_v1.so");
        prepare(&mut fixture);
        let begun = fixture.now;
        for _ in 0..20 {
            fixture.look();
        }
        assert!(fixture.now >= begun + 20 * DEBOUNCE, "{what}");
    }
}
