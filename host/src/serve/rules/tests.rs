//! The rules of HTTP that need no connection.

use super::*;

#[track_caller]
fn check(field: &str, expected: Option<&str>) {
    let name = host_len(field.as_bytes()).map(|len| &field[..len]);
    assert_eq!(name, expected, "{field}");
}

#[test]
fn host_fields_are_names_or_addresses_with_an_optional_port() {
    check("example", Some("example"));
    check("example:8080", Some("example"));
    check("example:", Some("example"));
    check("example.", Some("example"));
    check("example.:80", Some("example"));
    check("", Some(""));
    check("[::1]:80", Some("[::1]"));
    check("[::1]", Some("[::1]"));
    check("127.0.0.1:1", Some("127.0.0.1"));
}

#[test]
fn anything_else_is_refused() {
    for wrong in [
        "a b",
        "a/b",
        "user@host",
        "a:b",
        "[::1",
        "[x]",
        "[::1]x",
        "a,b:1:2",
        "é",
        ".",
        ".:80",
        "a:65536",
    ] {
        check(wrong, None);
    }
}
