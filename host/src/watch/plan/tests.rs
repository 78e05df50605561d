//! What is done about which file.

use super::*;

fn seen(content: u8, mtime_ns: i64) -> Seen {
    let digest = Digest([content; 32]);
    Seen { inode: 1, size: 2, mtime_ns, ctime_ns: Some(0), digest, fate: Fate::Ended }
}

fn path(name: &str) -> PathBuf {
    Path::new("/plugins").join(name)
}

fn arrival(name: &str, content: u8, mtime_ns: i64) -> Arrival {
    let named = crate::ids::split_file_name(name);
    Arrival { seen: seen(content, mtime_ns), named, how: How::Written, local: true }
}

fn whole(name: &str, content: u8, mtime_ns: i64) -> Found {
    Found { path: path(name), what: What::Whole(arrival(name, content, mtime_ns)) }
}

fn found(name: &str, what: What) -> Found {
    Found { path: path(name), what }
}

/// Content 7 serves, 8 was left.
fn standing(_: &PluginName, digest: Digest) -> Standing {
    match digest.0[0] {
        7 => Standing::Serves,
        8 => Standing::Left,
        _ => Standing::Free,
    }
}

#[track_caller]
fn check(found: Vec<Found>, before: &[(&str, u8)], expected: &[&str]) {
    let before = before.iter().map(|(name, content)| (path(name), seen(*content, 0))).collect();
    check_with(found, &before, expected);
}

#[track_caller]
fn check_with(found: Vec<Found>, before: &BTreeMap<PathBuf, Seen>, expected: &[&str]) {
    let actions = plan(Path::new("/plugins"), found, before, &standing);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let told: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::Forget(path) => format!("forget {}", name(path)),
            Action::Gone(path) => format!("gone {}", name(path)),
            Action::Symlink(path, why) => format!("symlink {}: {why}", name(path)),
            Action::Remember(path, _) => format!("remember {}", name(path)),
            Action::Same(path, _) => format!("same {}", name(path)),
            Action::Serves(path, _) => format!("serves {}", name(path)),
            Action::Held(path, _) => format!("held {}", name(path)),
            Action::GivenUp(path, _) => format!("given up {}", name(path)),
            Action::Superseded(path, _, by) => format!("superseded {} by {by}", name(path)),
            Action::Deploy(path, _, 1) => format!("deploy {}", name(path)),
            Action::Deploy(path, _, count) => format!("deploy {} ({count})", name(path)),
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn new_paths_and_new_content_are_arrivals() {
    check(vec![whole("liba_v1.so", 1, 0)], &[], &["deploy liba_v1.so"]);
    check(vec![whole("liba_v1.so", 2, 0)], &[("liba_v1.so", 1)], &["deploy liba_v1.so"]);
    check(vec![whole("liba_v1.so", 1, 9)], &[("liba_v1.so", 1)], &["deploy liba_v1.so"]);
    check(
        vec![whole("liba_v2.so", 1, 0)],
        &[("liba_v1.so", 1)],
        &["gone liba_v1.so", "deploy liba_v2.so"],
    );
    check(vec![found("liba_v1.so", What::Known)], &[("liba_v1.so", 1)], &[]);
}

#[test]
fn a_file_that_cannot_be_read_is_ordered_so_that_the_refusal_says_why() {
    let unread = || {
        found(
            "liba_v1.so",
            What::Whole(Arrival {
                seen: Seen { digest: UNREAD, ..seen(0, 0) },
                named: None,
                how: How::Written,
                local: true,
            }),
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
            how: How::Written,
            local: true,
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
    // Written again it counts, if it is deployed.
    check(
        vec![whole("liba_v9.so", 9, 9), whole("liba_v2.so", 2, 0)],
        &before,
        &["superseded liba_v2.so by v9", "deploy liba_v9.so"],
    );
    for (content, told) in [(7, "serves liba_v9.so"), (8, "held liba_v9.so")] {
        check(
            vec![whole("liba_v9.so", content, 9), whole("liba_v2.so", 2, 0)],
            &[("liba_v9.so", content)],
            &[told, "deploy liba_v2.so"],
        );
    }
}

/// What is done about content that was there before: how it came to look otherwise, and what it is
/// to its plugin.
#[test]
fn the_same_content_is_deployed_where_somebody_means_it() {
    use How::{Touched, Unclear, Untouched, Written};
    for (how, of) in [
        (Untouched, ["remember", "remember", "remember"]),
        (Touched, ["remember", "remember", "remember"]),
        (Unclear, ["remember", "same", "same"]),
        (Written, ["serves", "held", "deploy"]),
    ] {
        for (content, does) in [7, 8, 9].into_iter().zip(of) {
            let arrival = Arrival { how, ..arrival("liba_v1.so", content, 5) };
            let found = vec![found("liba_v1.so", What::Whole(arrival))];
            check(found, &[("liba_v1.so", content)], &[&format!("{does} liba_v1.so")]);
        }
    }
}

/// A whole folder that is copied once more changes nothing: its highest version decides.
#[test]
fn a_folder_that_is_written_again_deploys_no_lower_version() {
    let copied = |contents: [u8; 3]| {
        let names = ["liba_v1.so", "liba_v2.so", "liba_v3.so"];
        let found = names.into_iter().zip(contents).map(|(name, content)| whole(name, content, 9));
        let before: Vec<_> = names.into_iter().zip(contents).collect();
        (found.collect::<Vec<_>>(), before)
    };
    for (contents, expected) in [
        (
            [1, 2, 7],
            &["serves liba_v3.so", "superseded liba_v1.so by v3", "superseded liba_v2.so by v3"][..],
        ),
        ([1, 7, 8], &["serves liba_v2.so", "held liba_v3.so", "superseded liba_v1.so by v3"]),
        ([7, 2, 3], &["serves liba_v1.so", "superseded liba_v2.so by v3", "deploy liba_v3.so"]),
    ] {
        let (found, before) = copied(contents);
        check(found, &before, expected);
    }
}

/// An order that did not come to its end with its process is given again, and not for ever.
#[test]
fn an_order_that_a_process_died_over_is_given_again() {
    for (name, content) in [("liba_v1.so", 1), ("liba_v1.so", 8), ("weird.so", 1)] {
        for (count, expected) in [
            (1, format!("deploy {name} (2)")),
            (2, format!("deploy {name} (3)")),
            (3, format!("given up {name}")),
        ] {
            let before = Seen { fate: Fate::Ordered(count), ..seen(content, 0) };
            let before = BTreeMap::from([(path(name), before)]);
            let arrival = Arrival { how: How::Untouched, ..arrival(name, content, 0) };
            let found = vec![found(name, What::Whole(arrival))];
            check_with(found, &before, &[&expected]);
        }
    }
}

/// Content that cannot be read is as good as another one once it is written again; while it is
/// waited for, it is the same.
#[test]
fn what_cannot_be_read_is_refused_once() {
    for (fate, how, expected) in [
        (Fate::Ended, How::Touched, "remember liba_v1.so"),
        (Fate::Ended, How::Unclear, "deploy liba_v1.so"),
        (Fate::Ended, How::Written, "deploy liba_v1.so"),
        (Fate::Waits("permission_denied".to_owned()), How::Touched, "remember liba_v1.so"),
        (Fate::Waits("permission_denied".to_owned()), How::Written, "deploy liba_v1.so"),
    ] {
        let before = BTreeMap::from([(path("liba_v1.so"), Seen { fate, ..seen(0, 0) })]);
        let arrival = Arrival { how, ..arrival("liba_v1.so", 0, 5) };
        check_with(vec![found("liba_v1.so", What::Whole(arrival))], &before, &[expected]);
    }
}

#[test]
fn gone_files_are_forgotten_and_unsettled_ones_are_not() {
    check(vec![], &[("liba_v1.so", 1)], &["gone liba_v1.so"]);
    check(vec![found("liba_v1.so", What::Unsettled)], &[("liba_v1.so", 1)], &[]);
    check(
        vec![found("liba_v1.so", What::Symlink("why"))],
        &[("liba_v1.so", 1)],
        &["gone liba_v1.so", "symlink liba_v1.so: why"],
    );
    let elsewhere = BTreeMap::from([(PathBuf::from("/other/liba_v1.so"), seen(1, 0))]);
    assert_eq!(plan(Path::new("/plugins"), vec![], &elsewhere, &standing), []);
}
