//! A log in JSON: each line is one whole record, whoever wrote it.

use std::collections::BTreeSet;

use hotseat_test_support::{Host, eventually, fault, host};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::{
    crash::{next_worker, try_get},
    hooks::quick,
};

/// An object with its names as they are written, also those that are there twice.
struct Names(Vec<String>);

impl<'de> serde::Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Names;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// Every line as an object; each name is there once, and nothing looks like Rust.
#[track_caller]
fn records(host: &Host) -> Vec<Map<String, Value>> {
    let log = host.home().read_log();
    let whole = log.lines().take(log.matches('\n').count());
    let record = |line: &str| -> Map<String, Value> {
        let Names(names) = Names::deserialize(&mut serde_json::Deserializer::from_str(line))
            .unwrap_or_else(|error| panic!("{error}: {line}"));
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(once.len(), names.len(), "{line}");
        let record: Map<String, Value> = serde_json::from_str(line).unwrap();
        for own in ["timestamp", "level", "process", "target", "message"] {
            assert!(record[own].is_string(), "{line}");
        }
        assert!(record["pid"].is_u64(), "{line}");
        for (name, value) in &record {
            let text = value.as_str().unwrap_or_default();
            let rust =
                ["Some(", "None", "Pid(", "Ok(", "Err("].iter().any(|it| text.starts_with(it));
            assert!(!rust, "{name}: {line}");
            let number = ["generation", "order", "worker", "worker_pid", "ms", "seconds", "lines"];
            assert!(!number.contains(&name.as_str()) || value.is_number(), "{name}: {line}");
        }
        record
    };
    whole.map(record).collect()
}

#[track_caller]
fn find(host: &Host, message: &str) -> Map<String, Value> {
    let mut found = None;
    eventually!(
        {
            let mut all = records(host).into_iter();
            found = all.find(|it| it["message"].as_str().is_some_and(|it| it.contains(message)));
            found.is_some()
        },
        "`{message}` in\n{}",
        host.log_end()
    );
    found.unwrap()
}

/// Everything that a host does in its life, and what is printed past it.
#[test]
fn every_line_is_one_record() {
    let host = quick(host!()).arg("--log-format=json").arg("--log=debug");
    let host = host.with(fault("prints"), "libhandler_v1.so").start();
    for target in ["/out?1", "/err", "/raw", "/log", "/panic"] {
        host.get(target);
    }
    host.deploy(&fault("new_fails"), "libhandler_v2.so").refused();
    host.deploy(&fault("plain_v1"), "libother_v1.so").swapped();
    host.deploy(&fault("plain_v2"), "libother_v2.so").swapped();
    host.control().rollback(Some("other"), None).swapped();
    host.control().unload("other").assert_status(200);
    host.upgrade(&[]).assert_code(0);
    let before = host.worker_pid();
    assert_eq!(try_get(&host, "/die"), None, "it dies");
    next_worker(&host, before);
    let logged = find(&host, "logged by a plugin");
    assert_eq!(logged["fields"], serde_json::json!({ "kib": "0", "word": "a b" }));
    assert_eq!(logged["generation"], 1);
    let printed = find(&host, "printed by a plugin");
    assert_eq!(printed["target"], "printed");
    find(&host, "the very last word");
    let mut host = host;
    host.stop();
    assert!(records(&host).len() > 30);
}

/// Who deploys what from where, and how it ended, needs no parsing of sentences.
#[test]
fn the_line_of_a_deploy_has_its_fields() {
    let host = host!().arg("--log-format=json").start();
    let path = host.home().place(&fault("plain_v1"), "libhandler_v1.so");
    let swapped = host.control().deploy(&path).swapped();
    let line = find(&host, "is serving");
    for (name, value) in [
        ("plugin", Value::from("handler")),
        ("version", "1".into()),
        ("generation", swapped.generation.into()),
        ("verb", "deploy".into()),
        ("source", "control".into()),
        ("path", path.display().to_string().into()),
        ("outcome", "swapped".into()),
    ] {
        assert_eq!(line[name], value, "{name}: {line:?}");
    }
    assert_eq!(line["digest"].as_str().map(str::len), Some(64));
    assert!(line["ms"].is_u64() && line["order"].is_u64(), "{line:?}");
    host.deploy(&fault("new_fails"), "libhandler_v2.so").refused();
    let line = find(&host, "refused");
    assert_eq!((&line["plugin"], &line["version"]), (&"handler".into(), &"2".into()));
    assert_eq!(line["outcome"], "new_failed");
}
