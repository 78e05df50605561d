//! Structs of the binary interface that may grow are read field by field.

use super::{assert_none, is_unit_test, sources};

/// Where `line` makes or takes a reference to a whole struct of the ABI that may grow.
fn refers_to_growing(line: &str) -> bool {
    const GROWING: [&str; 13] = [
        "BodyVt",
        "HeadersVt",
        "WakerVt",
        "StreamVt",
        "IoVt",
        "RequestVt",
        "HostVt",
        "InstanceVt",
        "NewArgs",
        "RequestHead",
        "Figures",
        "SubscriptionVt",
        "LogRecord",
    ];
    // `&Table` as a type; `= &Table {` makes one of our own.
    let typed = |name: &str| {
        ["&", "&abi::"].iter().any(|before| {
            let reference = format!("{before}{name}");
            line.match_indices(&reference).any(|(at, _)| {
                let rest = &line[at + reference.len()..];
                !(line[..at].ends_with("= ") && rest.starts_with(" {"))
            })
        })
    };
    // `&*stream.vt`.
    let made = line.split("&*").skip(1).any(|rest| {
        let place = |c: char| c.is_alphanumeric() || "_.".contains(c);
        let end = rest.find(|c| !place(c)).unwrap_or(rest.len());
        rest[..end].split('.').next_back().is_some_and(|last| last == "vt")
    });
    made || GROWING.iter().any(|name| typed(name))
}

/// Of a struct that may grow one field is read at a time, by pointer: a reference to the whole would
/// claim bytes that a side of another version does not have.
#[test]
fn nobody_refers_to_a_growing_struct() {
    for wrong in ["unsafe { &*list.vt }", "vt: &abi::HeadersVt,", "fn vt(&self) -> &WakerVt {"] {
        assert!(refers_to_growing(wrong), "{wrong}");
    }
    for good in ["VT: &'static abi::IoVt = &abi::IoVt {", "(&raw const (*vt).fill).read()"] {
        assert!(!refers_to_growing(good), "{good}");
    }
    let mut found = Vec::new();
    for (path, text) in [sources("host/src/plugin"), sources("plugin-api/src")].concat() {
        // Test doubles look at tables of this build.
        if is_unit_test(&path) || path.components().any(|it| it.as_os_str() == "testing") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if refers_to_growing(line) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert_none(&found);
}
