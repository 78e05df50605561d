//! How a file that has the content it had came to look otherwise.
//!
//! Owns the judgement what is a write. A pure function of two stamps and what was heard.
//! Invariant: in doubt it is no write: whoever means one is told the command. The one exception is
//! `touch -m`, which nothing tells from a write.

use super::heard::Mark;
use crate::{artifact::stage::Stamp, state::Seen};

/// What was done to a file whose content is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Nothing.
    Untouched,
    /// Its times, its mode, its owner or the number of its links changed.
    Touched,
    /// It was touched or written, nobody can say which.
    Unclear,
    /// It was written, or another file was put in its place.
    Written,
}

/// What is known beside the stamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// This process has not looked at it before.
    pub(super) first: bool,
    /// The kernel has told everything since the last look.
    pub(super) kernel: bool,
    /// What it has told of this file.
    pub(super) mark: Option<Mark>,
    /// It is what a link leads to.
    pub(super) link: bool,
    /// Its file system keeps inode numbers and change times as a local one does.
    pub(super) local: bool,
}

pub(super) fn how(before: &Seen, now: Stamp, sight: Sight) -> How {
    let Sight { first, kernel, mark, link, local } = sight;
    if is_as_seen(now, before) {
        // A file system whose times stand still.
        let written = mark.is_some_and(|mark| mark.made || mark.modified);
        return if written && !local { How::Written } else { How::Untouched };
    }
    let mtime = now.mtime_ns != before.mtime_ns;
    if mark.is_some_and(|mark| was_written(mark, now, mtime)) {
        return How::Written;
    }
    let ctime = before.ctime_ns.is_none_or(|ctime| now.ctime_ns != ctime);
    // Some file systems number a file anew whenever they are asked.
    let inode = now.inode != before.inode && ctime && local;
    if link {
        // Whoever swaps a folder of links writes all of them again, meant or not: kubelet does when
        // one key of a volume changes.
        return if inode || mtime { How::Unclear } else { How::Touched };
    }
    match (inode, mtime) {
        // A restart may come with the folder mounted anew, or restored: new numbers, old times.
        (true, false) if first => How::Unclear,
        (true, _) => How::Written,
        (false, true) if first || !kernel => How::Unclear,
        (false, _) => How::Touched,
    }
}

fn was_written(mark: Mark, now: Stamp, mtime: bool) -> bool {
    let Mark { made, modified, attributes } = mark;
    // A write sets both times to one moment. Where they differ somebody has set the first: after a
    // write, which is two events, or alone.
    let modified = modified && (attributes || now.mtime_ns == now.ctime_ns);
    // Written through a mapping: no event but that of the close.
    let mapped = !modified && !attributes && mtime && now.mtime_ns == now.ctime_ns;
    made || modified || mapped
}

/// Whether a file looks as it did.
pub(super) fn is_as_seen(now: Stamp, seen: &Seen) -> bool {
    (now.inode, now.size, now.mtime_ns) == (seen.inode, seen.size, seen.mtime_ns)
        && seen.ctime_ns.is_none_or(|ctime| ctime == now.ctime_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::Digest, state::Fate};

    const BEFORE: Stamp = Stamp { inode: 1, size: 9, mtime_ns: 100, ctime_ns: 100 };

    fn seen(ctime_ns: Option<i64>) -> Seen {
        let Stamp { inode, size, mtime_ns, .. } = BEFORE;
        Seen { inode, size, mtime_ns, ctime_ns, digest: Digest([1; 32]), fate: Fate::Ended }
    }

    const fn mark(made: bool, modified: bool, attributes: bool) -> Option<Mark> {
        Some(Mark { made, modified, attributes })
    }

    /// Each way to come by the same content, watched by the kernel, by looks alone, and while the
    /// host was away.
    #[test]
    fn each_way_of_writing_the_same() {
        use How::{Touched, Unclear, Untouched, Written};
        let (closed, modified) = (mark(false, false, false), mark(false, true, false));
        let (attributes, both) = (mark(false, false, true), mark(false, true, true));
        let (made, renamed) = (mark(true, true, true), mark(true, false, false));
        // What, its stamp, its events, and how it is judged by events, by looks, at a start.
        for (what, (inode, mtime_ns, ctime_ns), mark, [by_events, by_looks, at_start]) in [
            ("nothing", (1, 100, 100), None, [Untouched, Untouched, Untouched]),
            ("cp over it", (1, 200, 200), modified, [Written, Unclear, Unclear]),
            ("cp -p over it", (1, 100, 200), both, [Written, Touched, Touched]),
            ("cp -p of an older one over it", (1, 50, 200), both, [Written, Unclear, Unclear]),
            ("rsync --inplace -t", (1, 50, 200), both, [Written, Unclear, Unclear]),
            ("written in place, chmod", (1, 200, 201), both, [Written, Unclear, Unclear]),
            ("mapped and written", (1, 200, 200), closed, [Written, Unclear, Unclear]),
            ("mv over it", (2, 150, 200), renamed, [Written, Written, Written]),
            ("mv of a cp -p over it", (2, 100, 200), renamed, [Written, Written, Unclear]),
            ("rm, cp; install", (2, 200, 200), made, [Written, Written, Written]),
            ("rm, cp -p; tar x; a layer", (2, 100, 200), made, [Written, Written, Unclear]),
            ("rm, cp -p, same inode", (1, 100, 200), made, [Written, Touched, Touched]),
            ("rm, cp -p from the future", (2, 999, 200), made, [Written, Written, Written]),
            ("ln -f", (2, 50, 200), renamed, [Written, Written, Written]),
            ("touch", (1, 200, 200), attributes, [Touched, Unclear, Unclear]),
            ("touch -d", (1, 50, 200), attributes, [Touched, Unclear, Unclear]),
            ("touch -m -d", (1, 50, 200), modified, [Touched, Unclear, Unclear]),
            ("chmod, chown, ln elsewhere", (1, 100, 200), attributes, [Touched, Touched, Touched]),
            (
                "opened for writing, nothing else",
                (1, 100, 200),
                closed,
                [Touched, Touched, Touched],
            ),
        ] {
            let now = Stamp { inode, size: 9, mtime_ns, ctime_ns };
            let sight = Sight { first: false, kernel: true, mark, link: false, local: true };
            assert_eq!(how(&seen(Some(100)), now, sight), by_events, "{what}, by events");
            let sight = Sight { kernel: false, mark: None, ..sight };
            assert_eq!(how(&seen(Some(100)), now, sight), by_looks, "{what}, by looks");
            let sight = Sight { first: true, ..sight };
            assert_eq!(how(&seen(Some(100)), now, sight), at_start, "{what}, at a start");
        }
    }

    /// Links that were swapped, file systems that number anew or whose times stand still, and files
    /// that an older release remembered.
    #[test]
    fn what_proves_less_is_doubted_more() {
        let mark = mark(true, false, false);
        let sight = Sight { first: false, kernel: true, mark: None, link: false, local: true };
        let link = Sight { link: true, ..sight };
        let far = Sight { local: false, ..sight };
        let of_old = seen(None);
        let now = |inode, mtime_ns, ctime_ns| Stamp { inode, size: 9, mtime_ns, ctime_ns };
        for (before, now, sight, expected) in [
            (seen(Some(100)), now(2, 200, 200), link, How::Unclear),
            (seen(Some(100)), now(1, 100, 200), link, How::Touched),
            (seen(Some(100)), now(2, 200, 200), Sight { mark, ..link }, How::Written),
            (seen(Some(100)), now(2, 100, 100), far, How::Touched),
            (seen(Some(100)), now(2, 100, 200), far, How::Touched),
            (seen(Some(100)), BEFORE, Sight { mark, ..far }, How::Written),
            (seen(Some(100)), BEFORE, Sight { mark, ..sight }, How::Untouched),
            (of_old.clone(), BEFORE, Sight { first: true, ..sight }, How::Untouched),
            (of_old, now(1, 200, 200), Sight { first: true, ..sight }, How::Unclear),
        ] {
            assert_eq!(how(&before, now, sight), expected, "{now:?} {sight:?}");
        }
    }
}
