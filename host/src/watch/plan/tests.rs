//! What is done about which file.

use super::*;

fn seen(content: u8, mtime_ns: i64) -> Seen {
    Seen { inode: 1, size: 2, mtime_ns, digest: Digest([content; 32]) }
}

fn path(name: &str) -> PathBuf {
    Path::new("/plugins").join(name)
}

fn arrival(name: &str, content: u8, mtime_ns: i64) -> Arrival {
    Arrival { seen: seen(content, mtime_ns), named: crate::ids::split_file_name(name) }
}

fn whole(name: &str, content: u8, mtime_ns: i64) -> Found {
    Found { path: path(name), what: What::Whole(arrival(name, content, mtime_ns)) }
}

fn found(name: &str, what: What) -> Found {
    Found { path: path(name), what }
}

#[track_caller]
fn check(found: Vec<Found>, before: &[(&str, u8)], expected: &[&str]) {
    let before = before.iter().map(|(name, content)| (path(name), seen(*content, 0))).collect();
    let actions = plan(Path::new("/plugins"), found, &before);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let told: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::Forget(path) => format!("forget {}", name(path)),
            Action::Symlink(path) => format!("symlink {}", name(path)),
            Action::Same(path, _) => format!("same {}", name(path)),
            Action::Superseded(path, _, by) => format!("superseded {} by {by}", name(path)),
            Action::Deploy(path, _) => format!("deploy {}", name(path)),
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn new_paths_and_new_content_are_arrivals() {
    check(vec![whole("liba_v1.so", 1, 0)], &[], &["deploy liba_v1.so"]);
    check(vec![whole("liba_v1.so", 2, 0)], &[("liba_v1.so", 1)], &["deploy liba_v1.so"]);
    check(vec![whole("liba_v1.so", 1, 9)], &[("liba_v1.so", 1)], &["same liba_v1.so"]);
    check(
        vec![whole("liba_v2.so", 1, 0)],
        &[("liba_v1.so", 1)],
        &["forget liba_v1.so", "deploy liba_v2.so"],
    );
    check(vec![found("liba_v1.so", What::Known)], &[("liba_v1.so", 1)], &[]);
}

#[test]
fn a_file_that_cannot_be_read_is_ordered_so_that_the_refusal_says_why() {
    let unread = || {
        found(
            "liba_v1.so",
            What::Whole(Arrival { seen: Seen { digest: UNREAD, ..seen(0, 0) }, named: None }),
        )
    };
    check(vec![unread()], &[], &["deploy liba_v1.so"]);
    check(vec![whole("liba_v1.so", 1, 0)], &[("liba_v1.so", 0)], &["deploy liba_v1.so"]);
}

#[test]
fn only_the_highest_of_one_name_is_deployed() {
    check(
        vec![
            whole("liba_v10.so", 10, 0),
            whole("liba_v2.so", 2, 5),
            whole("liba_v9.so", 9, 0),
            whole("libb_v1.so", 1, 0),
            whole("weird.so", 3, 0),
        ],
        &[],
        &[
            "superseded liba_v2.so by v10",
            "superseded liba_v9.so by v10",
            "deploy liba_v10.so",
            "deploy libb_v1.so",
            "deploy weird.so",
        ],
    );
    let twin = |name: &str, mtime_ns| Found {
        path: path(name),
        what: What::Whole(Arrival {
            named: arrival("liba_v1.so", 0, 0).named,
            seen: seen(7, mtime_ns),
        }),
    };
    check(vec![twin("x.so", 2), twin("y.so", 1)], &[], &["superseded y.so by v1", "deploy x.so"]);
}

#[test]
fn what_was_seen_before_supersedes_nothing() {
    let before = [("liba_v9.so", 9)];
    check(
        vec![found("liba_v9.so", What::Known), whole("liba_v2.so", 2, 0)],
        &before,
        &["deploy liba_v2.so"],
    );
    check(
        vec![whole("liba_v9.so", 9, 9), whole("liba_v2.so", 2, 0)],
        &before,
        &["same liba_v9.so", "deploy liba_v2.so"],
    );
}

#[test]
fn gone_files_are_forgotten_and_unsettled_ones_are_not() {
    check(vec![], &[("liba_v1.so", 1)], &["forget liba_v1.so"]);
    check(vec![found("liba_v1.so", What::Unsettled)], &[("liba_v1.so", 1)], &[]);
    check(
        vec![found("liba_v1.so", What::Symlink)],
        &[("liba_v1.so", 1)],
        &["forget liba_v1.so", "symlink liba_v1.so"],
    );
    let elsewhere = BTreeMap::from([(PathBuf::from("/other/liba_v1.so"), seen(1, 0))]);
    assert_eq!(plan(Path::new("/plugins"), vec![], &elsewhere), []);
}
