//! The child's side: shuts itself in, then does to the candidate all that the host will do.
//!
//! Invariant: only this process, and only after the candidate has been unloaded or refused, speaks
//! on the private descriptor; a forked copy of it ends in silence.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    os::unix::ffi::OsStringExt,
    process::ExitCode,
    time::Duration,
};

use self::{
    cell::Voice,
    course::{Course, Scope},
    offer::Offered,
};
use hotseat_unload::{
    leaves::{Count, Leaves},
    resolved::Resolved,
};

use super::wire::Line;
use crate::{
    config::plugin::{PluginSettings, Secrets},
    error::Coded,
    ids::Generation,
    plugin::library::{LoadError, LoadRequest},
    sys::process,
};

mod cell;
mod course;
mod offer;

/// Exit status: the verdict's descriptor is gone.
pub(super) const CANNOT_SPEAK: u8 = 70;
/// Exit status: the child could not be set up; the candidate never ran.
pub(super) const CANNOT_RUN: u8 = 71;

/// The argument after the subcommand, where the parent has passed the self-test of unloading.
pub(super) const TESTED: &str = "tested";

/// The hidden subcommand `preflight-child`.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let tested = arguments.first().is_some_and(|first| first == TESTED);
    let (voice, offered, request) = match set_up(tested) {
        Ok(set_up) => set_up,
        Err(error) => {
            // Its parent may be gone.
            let _ = writeln!(io::stderr(), "{error}");
            return ExitCode::from(CANNOT_RUN);
        }
    };
    let verdict = try_candidate(&voice, &request, &offered);
    let forked = cell::end_children();
    let verdict = match verdict {
        Ok(passed) if !forked => passed,
        Ok(_) => refusal(
            "preflight_forked",
            "it left a process of its own behind".to_owned(),
            Some("a plugin must end the processes it starts, in `stop`".to_owned()),
        ),
        Err(refused) => refused,
    };
    if voice.say(verdict).is_err() { ExitCode::from(CANNOT_SPEAK) } else { ExitCode::SUCCESS }
}

fn set_up(tested: bool) -> io::Result<(Voice, Offered, LoadRequest)> {
    // It has threads for moments only: to give each its own memory takes longer than what they do.
    process::bound_arenas(1);
    let pipe = cell::enter()?;
    if tested {
        cell::believe();
    }
    // All threads of our own are there before the candidate is opened, as in the host.
    let offered = Offered::start()?;
    // What needs no candidate is done while the parent still reads it.
    hotseat_unload::warm();
    let (voice, request) = cell::receive(pipe)?;
    let request = LoadRequest {
        path: OsString::from_vec(request.path).into(),
        plugin: request.plugin.parse().map_err(io::Error::other)?,
        label: request.label.parse().map_err(io::Error::other)?,
        generation: Generation(0),
        // What has to be hidden the parent knows.
        settings: PluginSettings {
            json: request.config,
            places: request.config_places,
            secrets: Secrets::new(),
            typed: None,
        },
        services: offered.services(request.cells, request.cell_bounds),
        tried: Vec::new(),
        // The parent's clock decides.
        load_time: Duration::MAX,
    };
    Ok((voice, offered, request))
}

fn refusal(code: &str, text: String, hint: Option<String>) -> Line {
    Line::Refused { code: code.to_owned(), text, hint }
}

impl From<LoadError> for Line {
    fn from(error: LoadError) -> Self {
        refusal(error.code(), error.problem.to_string(), error.hint())
    }
}

/// All steps; the verdict, or a refusal.
fn try_candidate(voice: &Voice, request: &LoadRequest, offered: &Offered) -> Result<Line, Line> {
    let before = Count::take();
    let Course { unmapped, mut hazards, resolved } =
        course::run(voice, request, offered, Scope::First)?;
    let first = before.leaves().of_first_load();
    // A library that stays is counted by whoever looks at the mappings.
    if !unmapped || !first.is_notable() {
        let leaves = if unmapped { first } else { Leaves::default() };
        return Ok(passed(unmapped, hazards, leaves, resolved));
    }
    // Tables that are filled once are none of what each load leaves.
    let before = Count::take();
    let again = course::run(voice, request, offered, Scope::Again);
    let leaves = before.leaves();
    match again {
        Ok(Course { unmapped, hazards: found, .. }) => {
            if !unmapped {
                hazards = found;
            }
            Ok(passed(unmapped, hazards, leaves, resolved))
        }
        Err(Line::Refused { text, .. }) => {
            hazards.push(format!("a second load in one process fails: {text}"));
            Ok(passed(true, hazards, first, resolved))
        }
        Err(other) => Err(other),
    }
}

fn passed(unmapped: bool, hazards: Vec<String>, leaves: Leaves, resolved: Vec<Resolved>) -> Line {
    Line::Passed { unmapped, hazards, leaves: Box::new(leaves), resolved }
}
