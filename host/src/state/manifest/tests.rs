//! The manifest in a real folder, torn and damaged.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::*;
use crate::state::{Fate, VersionEntry};

struct Fixture {
    _folder: tempfile::TempDir,
    dir: StateDir,
    syncer: Arc<Syncer>,
    file: ManifestFile,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::open(folder.path()).unwrap();
    let syncer = Arc::new(Syncer::start().unwrap());
    let file = ManifestFile::new(&dir, Arc::clone(&syncer));
    Fixture { _folder: folder, dir, syncer, file }
}

impl Fixture {
    fn save(&mut self, manifest: &Manifest) {
        self.file.save(manifest).unwrap();
        assert!(self.syncer.flush(Duration::from_secs(30)));
    }

    fn put(&self, name: &str, text: &str) {
        write(&self.dir.path().join(name), text.as_bytes()).unwrap();
    }

    fn loaded(&self) -> (u64, Option<String>) {
        let loaded = self.file.load().unwrap();
        (loaded.manifest.next_generation.0, loaded.warning)
    }
}

fn numbered(next: u64) -> Manifest {
    Manifest { next_generation: Generation(next), ..Manifest::default() }
}

fn full() -> Manifest {
    let mut manifest = numbered(5);
    let name: PluginName = "handler".parse().unwrap();
    let mut versions = Versions::default();
    for generation in [2, 4] {
        versions.commit(VersionEntry {
            generation: Generation(generation),
            digest: Digest([7; 32]),
            label: "2.1.0".parse().unwrap(),
            committed_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            rolled_back: generation == 2,
            from: (generation == 4).then_some(Generation(2)),
        });
    }
    let changed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_456);
    let versions = versions.remembering(vec![Digest([9; 32])], Some(changed_at));
    manifest.plugins.insert("gone".parse().unwrap(), Versions::default());
    manifest.plugins.insert(name.clone(), versions);
    manifest.changed_last = Some(name);
    let digest = Digest([8; 32]);
    let seen =
        |fate, ctime_ns| Seen { inode: u64::MAX, size: 3, mtime_ns: -1, ctime_ns, digest, fate };
    for (path, fate) in [
        ("/plugins/b.so", Fate::Ordered(2)),
        ("/plugins/c.so", Fate::Waits("foreign_owner".to_owned())),
        ("/plugins/d.so", Fate::Held),
    ] {
        manifest.seen.insert(path.into(), seen(fate, Some(-2)));
    }
    manifest.seen.insert("/plugins/a.so".into(), seen(Fate::Ended, None));
    let no_text = OsStr::from_bytes(b"/plugins/\xff.so");
    manifest.seen.insert(no_text.into(), seen(Fate::Ended, Some(-2)));
    manifest
}

#[test]
fn everything_survives_a_restart() {
    let mut fixture = fixture();
    assert_eq!(fixture.loaded(), (1, None), "an empty folder boots empty");
    fixture.save(&full());
    assert_eq!(fixture.file.load().unwrap().manifest, full());
}

#[test]
fn the_format_does_not_change_unnoticed() {
    let text = String::from_utf8(wire::encode(&full())).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let seen = |path: Value, more: &Value| {
        let mut seen = json!({ "path": path, "inode": u64::MAX, "size_bytes": 3, "mtime_ns": -1,
                               "ctime_ns": -2, "sha256": "08".repeat(32) });
        for (key, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(seen.as_object_mut().unwrap().remove(key)),
                value => seen[key] = value.clone(),
            }
        }
        seen
    };
    let expected = json!({
        "schema": 1,
        "serial": 0,
        "next_generation": 5,
        "changed_last": "handler",
        "plugins": {
            "gone": { "active": false, "versions": [], "left": [], "changed_at_ms": null },
            "handler": { "active": true, "left": ["09".repeat(32)], "changed_at_ms": 1_700_000_000_456_u64,
              "versions": [
                { "generation": 2, "sha256": "07".repeat(32), "label": "2.1.0",
                  "committed_at_ms": 1_700_000_000_123_u64, "rolled_back": true, "from": null },
                { "generation": 4, "sha256": "07".repeat(32), "label": "2.1.0",
                  "committed_at_ms": 1_700_000_000_123_u64, "rolled_back": false, "from": 2 },
            ] },
        },
        "seen": [
            seen(json!("/plugins/a.so"), &json!({ "ctime_ns": null })),
            seen(json!("/plugins/b.so"), &json!({ "ordered": 2 })),
            seen(json!("/plugins/c.so"), &json!({ "waits": "foreign_owner" })),
            seen(json!("/plugins/d.so"), &json!({ "held": true })),
            seen(json!(b"/plugins/\xff.so"), &json!({})),
        ],
    });
    assert_eq!(value, expected);
    // A host of before it was counted has written none.
    let mut before = value;
    before.as_object_mut().unwrap().remove("serial").unwrap();
    assert_eq!(Manifest::from_text(before.to_string().as_bytes()), Some(full()));
}

#[test]
fn a_damaged_newest_file_falls_back_to_the_previous() {
    let mut fixture = fixture();
    fixture.save(&numbered(2));
    fixture.save(&numbered(3));
    assert_eq!(fixture.loaded(), (3, None));
    for damage in ["", "{", "{\"schema\":1}", "null"] {
        fixture.put("manifest.json", damage);
        let (next, warning) = fixture.loaded();
        assert_eq!(next, 2);
        assert!(warning.unwrap().contains("manifest.previous.json"));
    }
    // As if it was killed between the two renames of a save.
    fs::remove_file(fixture.file.newest()).unwrap();
    assert_eq!(fixture.loaded().0, 2);
}

#[test]
fn damage_everywhere_is_never_an_empty_start() {
    let mut fixture = fixture();
    fixture.put("manifest.json", "rubbish");
    let error = fixture.file.load().unwrap_err();
    assert_eq!(error.code(), "state_unreadable");
    assert!(error.hint().unwrap().contains("--state-dir"));
    fixture.put("manifest.previous.json", "rubbish");
    assert_eq!(fixture.file.load().unwrap_err().code(), "state_unreadable");
    fs::remove_file(fixture.file.newest()).unwrap();
    assert_eq!(fixture.file.load().unwrap_err().code(), "state_unreadable");
    fixture.save(&numbered(9));
    assert_eq!(fixture.loaded(), (9, None));
}

#[test]
fn a_newer_schema_is_refused_even_with_a_readable_previous() {
    let mut fixture = fixture();
    fixture.save(&numbered(2));
    fixture.save(&numbered(3));
    fixture.put("manifest.json", "{\"schema\": 2, \"whatever\": []}");
    let error = fixture.file.load().unwrap_err();
    assert_eq!(error.code(), "manifest_newer");
    assert!(error.to_string().contains("schema 2"), "{error}");
}

#[test]
fn contradictions_are_damage() {
    let good = String::from_utf8(wire::encode(&full())).unwrap();
    let spoil = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        assert!(
            matches!(wire::decode(good.replace(from, to).as_bytes()), Err(WireError::Bad(_))),
            "{from} -> {to}"
        );
    };
    spoil("\"next_generation\": 5", "\"next_generation\": 4");
    spoil("\"from\": 2", "\"from\": 3");
    spoil("\"handler\": {", "\"Handler\": {");
    spoil("\"2.1.0\"", "\"v2\"");
    spoil(&"07".repeat(32), "07");
}

/// A burst of saves outruns the disk; the previous file is then still one that the disk has.
#[test]
fn the_previous_file_is_always_one_that_the_disk_has() {
    let mut fixture = fixture();
    fixture.save(&numbered(2));
    fixture.save(&numbered(3));
    // As long as the third is not known to be on the disk, the second stays the previous.
    fixture.file.written += 1_000;
    fixture.file.save(&numbered(4)).unwrap();
    fixture.put("manifest.json", "");
    assert_eq!(fixture.loaded().0, 2);
}

#[test]
fn a_save_that_fails_leaves_the_file_before() {
    let mut fixture = fixture();
    fixture.save(&numbered(2));
    fs::create_dir(fixture.dir.path().join("manifest.json.tmp")).unwrap();
    let error = fixture.file.save(&numbered(3)).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("state_failed", Kind::Host));
    assert_eq!(fixture.loaded(), (2, None));
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let shortage = Shortage::of(&full, Path::new("/"), 7);
    let error = ManifestError::Write { path: PathBuf::new(), source: full, shortage };
    assert_eq!(error.code(), "disk_full");
    assert!(error.to_string().contains("7 bytes needed"), "{error}");
}

#[test]
fn retention_gives_the_contents_that_are_needed() {
    let mut manifest = full();
    let name: PluginName = "other".parse().unwrap();
    let mut versions = Versions::default();
    for generation in 1..=4_u8 {
        versions.commit(VersionEntry {
            generation: Generation(generation.into()),
            digest: Digest([generation; 32]),
            label: "1".parse().unwrap(),
            committed_at: SystemTime::UNIX_EPOCH,
            rolled_back: false,
            from: None,
        });
    }
    manifest.plugins.insert(name, versions);
    let needed = manifest.prune(1);
    assert_eq!(needed, [3, 4, 7].map(|byte| Digest([byte; 32])).into());
}

#[test]
fn a_rollback_without_a_name_concerns_the_plugin_changed_last() {
    let manifest = full();
    assert_eq!(manifest.rollback_subject(None).unwrap().0.as_str(), "handler");
    let other = "other".parse().unwrap();
    let code = |result: Result<_, RollbackError>| result.map(|_| ()).unwrap_err().code();
    assert_eq!(code(manifest.rollback_subject(Some(&other))), "no_such_plugin");
    assert_eq!(code(Manifest::default().rollback_subject(None)), "nothing_to_roll_back");
    let mut numbers = numbered(8);
    assert_eq!([numbers.take_generation(), numbers.take_generation()], [8, 9].map(Generation));
}

/// The first release of the schema wrote fewer keys: what it left out has a meaning. And what it does
/// not know it skips, so each key that it does know keeps its type.
#[test]
fn the_first_release_of_the_schema_is_read_and_reads_this_one() {
    let mut value: Value = serde_json::from_slice(&wire::encode(&full())).unwrap();
    value.as_object_mut().unwrap().remove("serial");
    for plugin in value["plugins"].as_object_mut().unwrap().values_mut() {
        for key in ["left", "changed_at_ms"] {
            plugin.as_object_mut().unwrap().remove(key);
        }
    }
    for seen in value["seen"].as_array_mut().unwrap() {
        for key in ["ctime_ns", "ordered", "waits", "held"] {
            seen.as_object_mut().unwrap().remove(key);
        }
    }
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), ["changed_last", "next_generation", "plugins", "schema", "seen"]);
    assert_eq!(keys(&value["plugins"]["handler"]), ["active", "versions"]);
    assert_eq!(keys(&value["seen"][0]), ["inode", "mtime_ns", "path", "sha256", "size_bytes"]);
    value["later"] = json!({ "unknown": true });
    value["seen"][0]["later"] = json!(1);
    let Ok(manifest) = wire::decode(value.to_string().as_bytes()) else { panic!("{value}") };
    let handler = &manifest.plugins[&"handler".parse().unwrap()];
    assert_eq!(handler.changed_at(), handler.list().last().map(|entry| entry.committed_at));
    let plain = |seen: &Seen| seen.ctime_ns.is_none() && seen.fate == Fate::Ended;
    assert!(manifest.seen.values().all(plain), "{:?}", manifest.seen);
    // What it has marked as rolled back is known to be left, the newest load deciding.
    assert_eq!(handler.left(), [] as [Digest; 0], "generation 4 has the same bytes");
    value["plugins"]["handler"]["versions"][1]["rolled_back"] = json!(true);
    let Ok(manifest) = wire::decode(value.to_string().as_bytes()) else { panic!("{value}") };
    assert_eq!(manifest.plugins[&"handler".parse().unwrap()].left(), [Digest([7; 32])]);
}
