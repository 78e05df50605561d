//! Looks one by one, on a clock that moves as the looks ask for.

use std::{
    fs::{self, File},
    io::Write as _,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
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
    event::{self, Listener, Phase},
    watch::{heard::Mark, tests::Memory},
};

const DEBOUNCE: Duration = Duration::from_millis(30);
const RESCAN: Duration = Duration::from_millis(500);
const CONTENT: &[u8] = b"one";

struct Fixture {
    _temporary: tempfile::TempDir,
    dir: PathBuf,
    heard: Arc<Heard>,
    desk: Desk,
    events: Listener,
    memory: Arc<Memory>,
    round: Round,
    now: Instant,
}

fn fixture(queue: usize) -> Fixture {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("plugins");
    fs::create_dir(&dir).unwrap();
    let events = Events::new(64);
    let (desk, heard) = (Desk::new(queue, events.clone()), Arc::<Heard>::default());
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
    let (listener, now) = (events.listen(), Instant::now());
    let round = Round::new(config, Arc::clone(&heard), desk.clone(), store, events);
    Fixture { _temporary: temporary, dir, heard, desk, events: listener, memory, round, now }
}

impl Fixture {
    /// A file that a process before this one has looked at.
    fn known(&self, name: &str, fate: Fate) -> PathBuf {
        let path = self.dir.join(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(CONTENT).unwrap();
        // Whatever is done to it now is a tick of the file system's clock later.
        file.set_modified(SystemTime::now() - RESCAN).unwrap();
        drop(file);
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

    /// Gives the file another age; gives what keeps it open for writing.
    fn touch(path: &Path) -> File {
        let touched = File::options().append(true).open(path).unwrap();
        touched.set_modified(SystemTime::now() + RESCAN).unwrap();
        touched
    }

    /// Whether somebody was told of a file that is not deployed.
    fn was_ignored(&mut self) -> bool {
        let mut told = std::iter::from_fn(|| self.events.try_next());
        told.any(|it| matches!(it, event::Heard::Event(it) if it.phase == Phase::Ignored))
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

type Fail = fn(&Fixture, bool);

/// Ways in which a look comes to nothing, and how it is taken back.
const IN_VAIN: [(&str, Fail); 2] = [
    ("what is seen cannot be written down", |it, fails| {
        it.memory.fails.store(fails, Ordering::Relaxed);
    }),
    ("the folder cannot be read", |it, fails| {
        let away = it.dir.with_file_name("away");
        let (from, to) = if fails { (&it.dir, &away) } else { (&away, &it.dir) };
        fs::rename(from, to).unwrap();
    }),
];

/// What the kernel says, what it may have missed, and that a process has just begun: each of them
/// decides what the next look makes of the same bytes.
#[test]
fn a_look_in_vain_forgets_nothing() {
    for (what, fail) in IN_VAIN {
        let in_vain = |fixture: &mut Fixture| {
            fail(fixture, true);
            fixture.look();
            fail(fixture, false);
        };
        // Written again, as it was heard.
        let mut it = fixture(4);
        let path = it.known("liba_v1.so", Fate::Ended);
        it.look();
        File::create(&path).unwrap().write_all(CONTENT).unwrap();
        it.heard.put_back(&path, Mark { modified: true, ..Mark::default() });
        in_vain(&mut it);
        it.look();
        assert_eq!(it.desk.orders().len(), 1, "{what}: it was written");
        // Touched or written, nobody has heard which.
        let mut it = fixture(4);
        let path = it.known("liba_v1.so", Fate::Ended);
        it.look();
        drop(Fixture::touch(&path));
        it.heard.gap();
        in_vain(&mut it);
        it.look();
        assert!(it.was_ignored(), "{what}: it may have been written");
        // Restored while no process looked: another file of the same age.
        let mut it = fixture(4);
        let path = it.known("liba_v1.so", Fate::Ended);
        let seen = it.memory.seen().remove(&path).unwrap();
        let (inode, ctime_ns) = (seen.inode + 1, seen.ctime_ns.map(|it| it - 1));
        it.memory.remember(&path, Some(Seen { inode, ctime_ns, ..seen }));
        in_vain(&mut it);
        it.look();
        assert_eq!(it.desk.orders().len(), 0, "{what}: nobody has written it since the start");
        assert!(it.was_ignored(), "{what}: how to deploy it is said");
    }
}

/// A file that is not at rest, or whose order is not answered, is looked at later: what may have been
/// missed of it may still have been missed then.
#[test]
fn a_gap_lasts_until_the_file_was_looked_into() {
    let mut it = fixture(4);
    let path = it.known("liba_v1.so", Fate::Ended);
    it.look();
    let open = Fixture::touch(&path);
    it.heard.gap();
    it.look();
    assert!(!it.was_ignored(), "somebody may be writing it");
    drop(open);
    it.look();
    assert!(it.was_ignored(), "nobody has heard whether it was written");
}
