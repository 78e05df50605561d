//! Libraries that stay mapped, by plugin and by what keeps them.
//!
//! Owns which reasons are the same one: counts and lists of who has not answered change from look to
//! look. Knows nothing of what the reasons mean beyond that.

use std::collections::BTreeMap;

use super::{Life, Status};
use crate::ids::{Generation, PluginName};

/// What a reason begins with that lists who has not answered a purge.
const UNANSWERED: &str = "not answered by ";

/// Names that a thread has only from the one that started it, since it was given none.
const INHERITED: [&str; 8] =
    ["blocking", "callbacks", "control", "core", "drop", "load", "notices", "stop"];

/// Libraries of one plugin that stay mapped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residents {
    /// Whose.
    pub plugin: PluginName,
    /// Why, as the newest says it.
    pub why: String,
    /// Which, oldest first.
    pub generations: Vec<Generation>,
    /// Their threads by name, as many as there were when each was given up.
    pub threads: BTreeMap<String, usize>,
    /// What their heaps hold together. Units: bytes.
    pub heap: u64,
}

impl Status {
    /// What stays, grouped: a plugin that leaves a thread each time is one line, not a hundred.
    #[must_use]
    pub fn residents(&self) -> Vec<Residents> {
        let mut groups: BTreeMap<(&PluginName, String), Residents> = BTreeMap::new();
        // The list begins with the newest.
        for generation in self.retired.iter().rev() {
            let Life::Resident(why) = &generation.life else { continue };
            let key = (&generation.plugin, kind_of(why));
            let group = groups.entry(key).or_insert_with(|| Residents {
                plugin: generation.plugin.clone(),
                why: String::new(),
                generations: Vec::new(),
                threads: BTreeMap::new(),
                heap: 0,
            });
            group.why.clone_from(why);
            group.generations.push(generation.generation);
            group.heap += generation.heap.map_or(0, |heap| heap.held);
            for (name, count) in &generation.threads {
                *group.threads.entry(name.clone()).or_default() += count;
            }
        }
        groups.into_values().collect()
    }
}

/// A reason without what changes from look to look: numbers, and with them plurals; who has not
/// answered, or that somebody has not where threads are the cause.
fn kind_of(why: &str) -> String {
    let head = why.split_once(UNANSWERED).map(|(head, _)| head.trim_end_matches("; "));
    if head == Some("") {
        return UNANSWERED.to_owned();
    }
    let mut counted = false;
    let word = |word: &str| {
        let number = word.bytes().all(|byte| byte.is_ascii_digit());
        let plural = std::mem::replace(&mut counted, number);
        match (number, plural) {
            (true, _) => "#".to_owned(),
            (false, true) => word.trim_end_matches('s').to_owned(),
            (false, false) => word.to_owned(),
        }
    };
    head.unwrap_or(why).split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The reason why something stays, with its own threads first where those are why a purge is not
/// answered.
#[must_use]
pub fn reason(why: String, threads: &BTreeMap<String, usize>) -> String {
    let count: usize = threads.values().sum();
    if count == 0 || !why.starts_with(UNANSWERED) {
        return why;
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} thread{plural} left behind; {why}")
}

/// Threads by name, where a name that one has only inherited is no name of its own.
#[must_use]
pub fn named(threads: BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut named = BTreeMap::new();
    for (name, count) in threads {
        let of = name.split([' ', '-']).next().unwrap_or_default();
        let number = name[of.len()..].trim_start_matches([' ', '-']);
        let ours = INHERITED.contains(&of) && number.bytes().all(|it| it.is_ascii_digit());
        let name = match (ours, of) {
            (false, _) => name,
            (true, "load") => "unnamed (started in `new`)".to_owned(),
            (true, "stop" | "drop") => format!("unnamed (started in `{of}`)"),
            (true, _) => "unnamed (started in a call)".to_owned(),
        };
        *named.entry(name).or_default() += count;
    }
    named
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn kinds(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|why| kind_of(why)).collect()
    }

    #[test]
    fn a_reason_is_the_same_however_many_there_are() {
        for same in [
            &["1 thread left behind", "13 threads left behind", "2 threads left behind"][..],
            &["not answered by core-0", "not answered by blocking 0, core-1, control"],
            &["13 threads left behind; not answered by core-1", "1 thread left behind"],
        ] {
            assert_eq!(kinds(same).len(), 1, "{same:?}");
        }
        let others = [
            "1 thread left behind",
            "1 thread left behind, 2 wakers held by the host",
            "not answered by core-0",
            "held by libc.so.6+0x1c20 (environ?)",
            "held by libc.so.6+0x1c28 (stdin?)",
        ];
        assert_eq!(kinds(&others).len(), others.len());
    }

    #[test]
    fn own_threads_are_the_cause() {
        let threads = |count| BTreeMap::from([("pool".to_owned(), count)]);
        let why = || "not answered by core-0".to_owned();
        let told = "2 threads left behind; not answered by core-0";
        assert_eq!(reason(why(), &threads(2)), told);
        assert_eq!(reason(why(), &BTreeMap::new()), why());
        assert_eq!(reason("held by x".to_owned(), &threads(1)), "held by x");
    }

    #[test]
    fn an_inherited_name_is_none() {
        let threads = [("load", 2), ("core-1", 1), ("core-0", 1), ("blocking 3", 1), ("loader", 1)];
        let threads = threads.map(|(name, count)| (name.to_owned(), count)).into();
        let told: Vec<_> = named(threads).into_iter().collect();
        let want =
            [("loader", 1), ("unnamed (started in `new`)", 2), ("unnamed (started in a call)", 3)];
        assert_eq!(told, want.map(|(name, count)| (name.to_owned(), count)));
    }
}
