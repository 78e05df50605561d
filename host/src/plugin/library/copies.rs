//! The words for two copies of what a library needs: where it was tried, and here.

use std::fmt;

use hotseat_unload::resolved::OtherCopy;

use crate::ids::Generation;

/// Of what a library needs, this process has another copy than the one that it was tried with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    other: OtherCopy,
    /// What needs the copy that is here, by its generation, and by name where somebody knows it.
    needed_by: Vec<(Generation, Option<String>)>,
}

impl Copies {
    /// Those of `other`, while the libraries that it names are there.
    pub(super) fn of(other: OtherCopy) -> Box<Self> {
        let generation = |tag: &u64| (Generation(*tag), None);
        let needed_by = other.needed_by.iter().map(generation).collect();
        Box::new(Self { other, needed_by })
    }

    /// Gives those that need the copy which is here the names that `name` knows.
    pub fn name_holders(&mut self, name: impl Fn(Generation) -> Option<String>) {
        for (generation, named) in &mut self.needed_by {
            *named = name(*generation);
        }
    }

    /// Whether the file was replaced since it was mapped here: a new process takes what is on disk now.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let OtherCopy { here, tried, before, .. } = &self.other;
        *before && here.path == tried.path
    }

    fn holders(&self) -> String {
        let name = |(generation, name): &(Generation, Option<String>)| match name {
            Some(name) => format!("{name} (generation {generation})"),
            None => format!("generation {generation}"),
        };
        self.needed_by.iter().map(name).collect::<Vec<_>>().join(" and ")
    }

    pub(super) fn hint(&self) -> String {
        if !self.other.before {
            return "see whether that file has just been replaced (deploy it again), its folder is \
                    newer than this process (`hotseat upgrade` starts a fresh worker), or it is \
                    looked for in a relative folder (link with an absolute one)"
                .to_owned();
        }
        if self.is_stale() {
            return "`hotseat upgrade` starts a fresh worker, which takes what is on disk now \
                    (`recycle = \"auto\"` has the host do that by itself; with `--single`, start \
                    it anew)"
                .to_owned();
        }
        if self.needed_by.is_empty() {
            return "a plugin has opened that by itself, or it stayed when one was unloaded: then \
                    `hotseat upgrade` starts a fresh worker without it"
                .to_owned();
        }
        format!(
            "one process cannot have two libraries of one name: give this one a name of its own \
             (file and SONAME), link it statically, or use the same copy; or first unload or replace \
             {}, and deploy this when that is unloaded",
            self.holders()
        )
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherCopy { wanted, tried, here, before, .. } = &self.other;
        write!(f, "it needs `{wanted}`, and was tried with {tried}; this process ")?;
        match (before, self.is_stale()) {
            (false, _) => write!(f, "finds {here}")?,
            (true, true) => write!(f, "still has what was there before, {here}")?,
            (true, false) => write!(f, "has {here}")?,
        }
        match (before, self.needed_by.is_empty()) {
            (true, true) => write!(f, ", although nothing needs it"),
            (true, false) => write!(f, ", for {}", self.holders()),
            (false, _) => Ok(()),
        }
    }
}
