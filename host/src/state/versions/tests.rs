//! Where a rollback leads.

use super::*;

fn name() -> PluginName {
    "handler".parse().unwrap()
}

/// Plays a plugin's life: `deploy`, `back` and `to` number generations as a host does.
#[derive(Default)]
struct Life {
    versions: Versions,
    next: u64,
}

impl Life {
    fn deployed(count: u64) -> Self {
        let mut life = Self::default();
        for _ in 0..count {
            life.deploy();
        }
        life
    }

    fn deploy(&mut self) {
        // The content is the generation's number, so that an origin can be told by its digest.
        self.load(u8::try_from(self.next + 1).unwrap());
    }

    /// One load for each letter, which is its content.
    fn of(contents: &str) -> Self {
        let mut life = Self::default();
        contents.bytes().for_each(|content| life.load(content));
        life
    }

    fn load(&mut self, content: u8) {
        self.next += 1;
        self.versions.commit(VersionEntry {
            generation: Generation(self.next),
            digest: Digest([content; 32]),
            label: self.next.to_string().parse().unwrap(),
            committed_at: SystemTime::UNIX_EPOCH,
            rolled_back: false,
            from: None,
        });
    }

    /// The generation whose bytes serve afterwards, or the error's code.
    fn roll(&mut self, to: Option<u64>) -> Result<u64, &'static str> {
        use crate::error::Coded as _;
        let target =
            self.versions.rollback_target(&name(), to.map(Generation)).map_err(|e| e.code())?;
        let target = target.clone();
        assert_eq!(target.from, None, "a target is an origin");
        self.next += 1;
        self.versions.commit_rollback(&target, Generation(self.next), SystemTime::UNIX_EPOCH);
        let active = self.versions.active().unwrap();
        assert_eq!(active.from, Some(target.generation));
        assert_eq!((active.digest, &active.label), (target.digest, &target.label));
        Ok(target.generation.0)
    }

    fn back(&mut self) -> Result<u64, &'static str> {
        self.roll(None)
    }

    fn to(&mut self, generation: u64) -> Result<u64, &'static str> {
        self.roll(Some(generation))
    }

    fn rolled_back(&self) -> Vec<u64> {
        let marked = self.versions.list().iter().filter(|entry| entry.rolled_back);
        marked.map(|entry| entry.generation.0).collect()
    }

    fn kept(&self) -> Vec<u64> {
        self.versions.list().iter().map(|entry| entry.generation.0).collect()
    }
}

const NOTHING: Result<u64, &str> = Err("nothing_to_roll_back");

#[test]
fn each_rollback_goes_one_further_back_and_never_forward() {
    let mut life = Life::deployed(3);
    assert_eq!(life.back(), Ok(2));
    assert_eq!(life.rolled_back(), [3]);
    assert_eq!(life.back(), Ok(1));
    assert_eq!(life.rolled_back(), [2, 3, 4], "the rollback that was left, and its origin");
    assert_eq!(life.back(), NOTHING);
    assert_eq!(life.back(), NOTHING);
    assert_eq!(life.versions.active().unwrap().generation, Generation(5));
}

#[test]
fn nothing_to_go_back_to_changes_nothing() {
    assert_eq!(Life::default().back(), NOTHING);
    let mut life = Life::deployed(1);
    let before = life.versions.clone();
    assert_eq!(life.back(), NOTHING);
    assert_eq!(life.versions, before);
}

#[test]
fn a_deploy_after_a_rollback_goes_back_to_what_the_rollback_brought() {
    let mut life = Life::deployed(3);
    assert_eq!(life.back(), Ok(2));
    life.deploy();
    assert_eq!(life.back(), Ok(2), "generation 4 carries the bytes of 2");
    assert_eq!(life.back(), Ok(1), "and is no step of its own");
    assert_eq!(life.back(), NOTHING);
}

#[test]
fn any_kept_generation_can_be_named() {
    let mut life = Life::deployed(4);
    assert_eq!(life.to(1), Ok(1));
    assert_eq!(life.rolled_back(), [4], "only what was left");
    assert_eq!(life.to(4), Ok(4), "also forward");
    assert_eq!(life.rolled_back(), [4], "going forward marks nothing");
    assert_eq!(life.back(), Ok(3));
    assert_eq!(life.to(5), Ok(1), "a rollback stands for its origin");
    assert_eq!(life.to(99), Err("no_such_generation"));
    assert_eq!(life.to(8), Err("already_serves"));
    let Err(RollbackError::NoSuchGeneration { kept, .. }) =
        life.versions.rollback_target(&name(), Some(Generation(0)))
    else {
        panic!("generation 0 never exists");
    };
    assert_eq!(kept, (1..8).map(Generation).collect::<Vec<_>>());
}

#[test]
fn what_was_rolled_back_is_skipped_later() {
    let mut life = Life::deployed(2);
    assert_eq!(life.back(), Ok(1));
    life.deploy();
    life.deploy();
    assert_eq!(life.kept(), [1, 2, 3, 4, 5]);
    assert_eq!(life.back(), Ok(4));
    assert_eq!(life.back(), Ok(1), "2 was rolled back, 3 carries 1");
    assert_eq!(life.back(), NOTHING);
}

#[test]
fn an_unloaded_plugin_is_brought_back_by_a_rollback() {
    let mut life = Life::deployed(2);
    life.versions.deactivate();
    assert_eq!(life.versions.active(), None);
    assert_eq!(life.versions.boot_candidates(), [] as [&VersionEntry; 0]);
    assert_eq!(life.back(), Ok(2), "what served last");
    assert_eq!(life.rolled_back(), [] as [u64; 0]);
    assert!(life.versions.is_active());
    life.versions.deactivate();
    assert_eq!(life.to(1), Ok(1));
    assert_eq!(life.rolled_back(), [] as [u64; 0], "nothing served, so nothing was left");
}

#[test]
fn boot_tries_the_active_version_and_then_goes_back() {
    let mut life = Life::deployed(4);
    assert_eq!(life.back(), Ok(3));
    let tried: Vec<_> =
        life.versions.boot_candidates().iter().map(|entry| entry.generation.0).collect();
    assert_eq!(tried, [5, 2, 1], "5 carries 3; 4 was rolled back");
}

#[test]
fn retention_counts_versions_not_rollbacks() {
    let mut life = Life::deployed(9);
    life.versions.prune(5);
    assert_eq!(life.kept(), [4, 5, 6, 7, 8, 9]);
    for older in [8, 7, 6, 5, 4] {
        assert_eq!(life.back(), Ok(older), "every kept version can be gone back to");
        life.versions.prune(5);
    }
    assert_eq!(life.kept(), [4, 5, 6, 7, 8, 9, 14]);
    assert_eq!(life.back(), NOTHING);
    life.deploy();
    life.versions.prune(5);
    assert_eq!(life.kept(), [4, 6, 7, 8, 9, 14, 15], "5 served longest ago");
    assert_eq!(life.back(), Ok(4));
    life.deploy();
    life.versions.prune(0);
    assert_eq!(life.kept(), [17]);
}

#[test]
fn what_served_last_is_kept_however_old_it_is() {
    let mut life = Life::deployed(9);
    assert_eq!(life.to(1), Ok(1));
    life.versions.prune(2);
    assert_eq!(life.kept(), [1, 8, 9, 10]);
    life.deploy();
    life.versions.prune(1);
    assert_eq!(life.kept(), [1, 10, 11]);
    assert_eq!(life.back(), Ok(1));
}

#[test]
fn going_to_and_fro_stays_bounded() {
    let mut life = Life::deployed(2);
    for _ in 0..50 {
        life.to(1).unwrap();
        life.versions.prune(5);
        life.to(2).unwrap();
        life.versions.prune(5);
        assert!(life.kept().len() <= 4, "{:?}", life.kept());
    }
    assert_eq!(life.back(), Ok(1));
}

#[test]
fn a_list_that_contradicts_itself_is_not_restored() {
    let life = Life::deployed(2);
    let list = life.versions.list().to_vec();
    assert_eq!(Versions::restore(list.clone(), true).unwrap().list(), list);
    assert!(Versions::restore(Vec::new(), true).is_err());
    assert!(Versions::restore(list.iter().rev().cloned().collect(), true).is_err());
    let mut stray = list.clone();
    stray[1].from = Some(Generation(7));
    assert!(Versions::restore(stray, true).is_err());
    let mut chained = list;
    chained[0].from = Some(Generation(2));
    assert!(Versions::restore(chained, true).is_err());
}

#[test]
fn what_stands_in_is_what_a_rollback_starts_from() {
    let mut life = Life::deployed(4);
    life.versions.stand_in(Some(Generation(2)));
    assert_eq!(life.to(2), Err("already_serves"));
    assert_eq!(life.versions.active().unwrap().generation, Generation(4), "that boots");
    let kept = life.versions.rollback_target(&name(), None).unwrap().generation;
    assert_eq!(kept, Generation(1), "one before what serves");
    let mut forward = life.versions.clone();
    assert_eq!(
        forward.rollback_target(&name(), Some(Generation(4))).unwrap().generation,
        Generation(4)
    );
    forward.stand_in(None);
    assert_eq!(forward.rollback_target(&name(), None).unwrap().generation, Generation(3));
    assert_eq!(life.back(), Ok(1));
    assert_eq!(life.rolled_back(), [2, 4], "what served, and what was to boot");
    assert_eq!(life.versions.serving().unwrap().generation, Generation(5));
}

/// What each rollback leads to after loads of contents (the same letter is the same bytes), also in
/// a host that forgets after each step.
#[test]
fn a_rollback_leads_to_other_bytes_however_often_they_were_loaded() {
    for (contents, leads_to) in [
        ("A", ""),
        ("AA", ""),
        ("AB", "A"),
        ("ABB", "A"),
        ("ABBBBBBBB", "A"),
        ("AABB", "A"),
        ("ABBC", "BA"),
        ("ABCC", "BA"),
        ("ABCCCBBB", "CBA"),
        ("ABA", "BA"),
        ("ABAAC", "ABA"),
    ] {
        for kept_count in [None, Some(5), Some(3)] {
            let mut life = Life::default();
            let prune = |life: &mut Life| {
                if let Some(count) = kept_count {
                    life.versions.prune(count);
                }
            };
            for content in contents.bytes() {
                life.load(content);
                prune(&mut life);
            }
            let mut led = String::new();
            while life.back().is_ok() {
                led.push(char::from(life.versions.active().unwrap().digest.0[0]));
                prune(&mut life);
            }
            assert_eq!(led, leads_to, "{contents}, keeping {kept_count:?}");
        }
    }
}

/// What was left is marked as a whole: neither a later rollback nor a start comes upon another load
/// of the same bytes.
#[test]
fn every_load_of_what_was_left_is_marked() {
    let mut life = Life::of("ABBB");
    assert_eq!(life.back(), Ok(1));
    assert_eq!(life.rolled_back(), [2, 3, 4]);
    assert_eq!(life.versions.left(), [Digest([b'B'; 32])]);
    life.load(b'C');
    let tried: Vec<_> =
        life.versions.boot_candidates().iter().map(|entry| entry.digest.0[0]).collect();
    assert_eq!(tried, *b"CA");
    life.load(b'B');
    assert_eq!(life.versions.left(), [] as [Digest; 0], "somebody wants it again");
    assert_eq!(life.back(), Ok(6), "to C");
    assert_eq!(life.versions.left(), [Digest([b'B'; 32])]);
}

/// Loading the same again says nothing against it.
#[test]
fn going_to_another_load_of_the_same_bytes_marks_nothing() {
    let mut life = Life::of("ABB");
    assert_eq!(life.to(2), Ok(2));
    assert_eq!(life.rolled_back(), [] as [u64; 0]);
    assert_eq!(life.versions.left(), [] as [Digest; 0]);
    assert_eq!(life.back(), Ok(1));
}

#[test]
fn what_was_withdrawn_is_not_what_an_unloaded_plugin_comes_back_as() {
    let mut life = Life::of("AB");
    life.versions.withdraw();
    assert_eq!(life.versions.left(), [Digest([b'B'; 32])]);
    assert_eq!(life.back(), Ok(1));
    life.versions.withdraw();
    assert_eq!(life.back(), NOTHING);
    assert_eq!(life.to(2), Ok(2), "unless it is named");
}

#[test]
fn retention_counts_contents_and_not_loads() {
    for (contents, kept_count, kept) in [
        ("ABBBBBB", 1, &[1, 7][..]),
        ("ABBBBBB", 0, &[7]),
        ("ABCD", 2, &[2, 3, 4]),
        ("AABBCC", 2, &[2, 4, 6]),
        ("ABABABAB", 1, &[7, 8]),
        ("CABABABAB", 2, &[1, 7, 8, 9]),
        ("DCABABABAB", 2, &[2, 8, 9, 10]),
    ] {
        let mut life = Life::of(contents);
        life.versions.prune(kept_count);
        assert_eq!(life.kept(), kept, "{contents}, keeping {kept_count}");
        let restored = Versions::restore(life.versions.list().to_vec(), true).unwrap();
        assert_eq!(restored.list(), life.versions.list());
    }
}

/// Whatever is done, the list stays bounded and consistent, and what serves is the last of it.
#[test]
fn a_long_life_stays_bounded() {
    let mut life = Life::of("A");
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..5_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let serves = life.versions.active().map(|entry| entry.digest);
        match random % 8 {
            0..4 => life.load(b'A' + u8::try_from(random / 8 % 12).unwrap()),
            4 => {
                let kept = life.kept();
                let one = kept[usize::try_from(random / 8).unwrap() % kept.len()];
                let _ = life.to(one);
            }
            5 => life.versions.deactivate(),
            _ => {
                let led = life.back().is_ok() && serves.is_some();
                let now = life.versions.active().map(|entry| entry.digest);
                assert!(!led || now != serves, "to other bytes");
            }
        }
        life.versions.prune(3);
        let list = life.versions.list();
        assert!(list.len() <= 20, "{list:?}");
        Versions::restore(list.to_vec(), life.versions.is_active()).unwrap();
        let contents: std::collections::BTreeSet<_> = life.versions.digests().collect();
        assert!(contents.len() <= 4, "{list:?}");
        assert!(life.versions.left().len() <= LEFT_COUNT);
    }
}
