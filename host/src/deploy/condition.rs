//! What must serve for an order to be carried out.
//!
//! Owns the condition and its refusal. The pipeline asks when it has taken the order out: nothing
//! but that order can change what serves until it ends, so what holds then holds at the swap.

use std::collections::BTreeSet;

use crate::{
    error::{Coded, Kind},
    ids::{Generation, PluginName, Version},
};

/// "Nothing serves", as a generation: none has this number.
pub const NOTHING: Generation = Generation(0);

/// What must serve the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Whatever.
    #[default]
    None,
    /// Something.
    Anything,
    /// One of these generations; [`NOTHING`] stands for nothing.
    OneOf(BTreeSet<Generation>),
}

impl Condition {
    /// This generation, or nothing for [`NOTHING`].
    #[must_use]
    pub fn generation(generation: Generation) -> Self {
        Self::OneOf(BTreeSet::from([generation]))
    }

    /// Holds the condition against what `serving` says.
    ///
    /// # Errors
    /// [`ConditionError`]; the order is not carried out then.
    pub fn check(
        &self,
        plugin: &PluginName,
        serving: Option<Version>,
    ) -> Result<(), ConditionError> {
        let number = serving.as_ref().map_or(NOTHING, |version| version.generation);
        let holds = match self {
            Self::None => true,
            Self::Anything => number != NOTHING,
            Self::OneOf(numbers) => numbers.contains(&number),
        };
        if holds {
            return Ok(());
        }
        Err(ConditionError { plugin: plugin.clone(), serving, condition: self.clone() })
    }

    fn text(&self) -> String {
        let Self::OneOf(numbers) = self else { return "that something serves".to_owned() };
        let one = |number: &Generation| match *number {
            NOTHING => "that nothing serves".to_owned(),
            number => format!("generation {number}"),
        };
        let all: Vec<_> = numbers.iter().map(one).collect();
        if all.is_empty() { "what no generation is".to_owned() } else { all.join(" or ") }
    }
}

/// Something else serves; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} serves `{plugin}`; the order expects {}", serves(.serving.as_ref()), .condition.text())]
pub struct ConditionError {
    /// Whom the order concerned.
    pub plugin: PluginName,
    /// What serves.
    pub serving: Option<Version>,
    /// What was expected.
    pub condition: Condition,
}

fn serves(serving: Option<&Version>) -> String {
    serving.map_or_else(
        || "nothing".to_owned(),
        |Version { generation, label, .. }| format!("generation {generation} ({label})"),
    )
}

impl Coded for ConditionError {
    fn code(&self) -> &'static str {
        "precondition_failed"
    }

    fn kind(&self) -> Kind {
        Kind::Condition
    }

    fn hint(&self) -> Option<String> {
        let number = self.serving.as_ref().map_or(NOTHING, |version| version.generation);
        Some(format!(
            "look at `hotseat history`, and give `--if-generation {number}` if it is to be done all \
             the same"
        ))
    }

    fn serving(&self) -> Option<Generation> {
        Some(self.serving.as_ref().map_or(NOTHING, |version| version.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    #[test]
    fn a_condition_is_about_what_serves() {
        let numbers =
            |list: &[u64]| Condition::OneOf(list.iter().copied().map(Generation).collect());
        for (condition, serving, holds) in [
            (Condition::None, 0, true),
            (Condition::None, 7, true),
            (Condition::Anything, 0, false),
            (Condition::Anything, 7, true),
            (Condition::generation(NOTHING), 0, true),
            (Condition::generation(NOTHING), 7, false),
            (numbers(&[6, 7]), 7, true),
            (numbers(&[6]), 7, false),
            (numbers(&[6]), 0, false),
            (numbers(&[]), 7, false),
        ] {
            let version = (serving > 0).then(|| Version {
                generation: Generation(serving),
                label: "2".parse().unwrap(),
                digest: Digest([0; 32]),
            });
            let checked = condition.check(&"a".parse().unwrap(), version);
            assert_eq!(checked.is_ok(), holds, "{condition:?} {serving}");
            if let Err(error) = checked {
                assert_eq!(error.serving(), Some(Generation(serving)));
                assert!(error.hint().unwrap().contains(&format!("--if-generation {serving}`")));
                let says = if serving == 0 { "nothing serves" } else { "generation 7 (v2) serves" };
                assert!(error.to_string().starts_with(says), "{error}");
            }
        }
    }
}
