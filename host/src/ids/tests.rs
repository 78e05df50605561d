//! Syntax and order of the words.

use super::*;

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

#[test]
fn labels_order_as_people_expect() {
    let ascending = ["1", "2.0.0-rc1", "2", "2.1", "9", "10", "10.0.1"];
    for pair in ascending.windows(2) {
        assert!(label(pair[0]) < label(pair[1]), "{} < {}", pair[0], pair[1]);
    }
    assert!(label("2") < label("2.0.0"), "equal versions are told apart by their text");
    assert!(label("1") > label("1_weird"), "a label that is no version is below every version");
}

#[test]
fn file_names_split_at_the_last_v_and_digit() {
    let split =
        |name| split_file_name(name).map(|(n, l)| (n.as_str().to_owned(), l.as_str().to_owned()));
    let parts = |n: &str, l: &str| Some((n.to_owned(), l.to_owned()));
    assert_eq!(split("libhandler_v2.so"), parts("handler", "2"));
    assert_eq!(split("libhandler_v2.1.0.so"), parts("handler", "2.1.0"));
    assert_eq!(split("liba_v1_v2.so"), parts("a_v1", "2"));
    assert_eq!(split("liba_v1_vx.so"), parts("a", "1_vx"));
    assert_eq!(split("libhandler.so"), None);
    assert_eq!(split("libHandler_v2.so"), None);
    assert_eq!(split("handler_v2.so"), None);
    assert_eq!(split("lib_v2.so"), None);
}

#[test]
fn names_and_digests_are_checked() {
    assert!("a".repeat(64).parse::<PluginName>().is_ok());
    for wrong in ["", "_a", "A", "a/b", &"a".repeat(65)] {
        assert!(wrong.parse::<PluginName>().is_err(), "{wrong}");
    }
    let text = "ab".repeat(32);
    assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    assert!("ab".parse::<Digest>().is_err());
    assert!("g".repeat(64).parse::<Digest>().is_err());
}
