//! `hotseat check`: would this library be loaded?
//!
//! Owns the report and its two forms. The checking itself is handed in.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use super::{FAILED, USAGE, Work, args::CheckArgs, complain, exit_code, explain, say};
use crate::{
    config::raw::file::Surroundings,
    error::Coded,
    ids::{Digest, Label, PluginName},
    log,
};

/// A library that would be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// What it would be.
    pub plugin: PluginName,
    /// Its label.
    pub label: Label,
    /// Its content.
    pub digest: Digest,
    /// How long the child took.
    pub preflight: Duration,
    /// It was unmapped when the child let go of it.
    pub unmapped: bool,
    /// What makes unloading harder.
    pub hazards: Vec<String>,
    /// Lines worth saying.
    pub notes: Vec<String>,
}

impl CheckReport {
    fn text(&self) -> String {
        let Self { plugin, label, digest, preflight, unmapped, hazards, notes } = self;
        let (digest, ms) = (digest.to_string(), preflight.as_secs_f64() * 1e3);
        let unloads = if *unmapped { "unloads" } else { "may stay resident" };
        let head = format!(
            "{plugin} {label} would be loaded (sha256 {}…, preflight {ms:.1} ms, {unloads})\n",
            &digest[..6]
        );
        let meaning = if *unmapped {
            "each makes an unload harder; the host has cleared them away here"
        } else {
            "each makes an unload harder, and may be what keeps it loaded"
        };
        let hazards = match hazards.as_slice() {
            [] => String::new(),
            hazards => format!("hazards: {} ({meaning})\n", hazards.join(", ")),
        };
        let notes = notes.iter().map(|line| format!("{line}\n"));
        [head, hazards].into_iter().chain(notes).collect()
    }

    fn object(&self) -> String {
        let Self { plugin, label, digest, preflight, unmapped, hazards, notes } = self;
        let object = json!({
            "plugin": plugin.as_str(),
            "label": label.as_str(),
            "digest": digest.to_string(),
            "preflight_ms": (preflight.as_secs_f64() * 1e6).round() / 1e3,
            "unmapped": unmapped,
            "hazards": hazards,
            "notes": notes,
        });
        format!("{object:#}\n")
    }
}

pub(super) fn carry_out(args: CheckArgs, work: &Work) -> u8 {
    let CheckArgs { path, json, config, settings } = args;
    let loaded = match settings.load(config.as_deref(), &Surroundings::of_this_process()) {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error, USAGE),
    };
    if let Err(error) = log::start(&loaded.log, "hotseat") {
        explain(&error.to_string(), None);
        return FAILED;
    }
    answer((work.check)(&path, &loaded.config), json)
}

fn answer(checked: Result<CheckReport, crate::deploy::desk::Refusal>, json: bool) -> u8 {
    match checked {
        Ok(report) if json => say(&report.object(), super::DONE),
        Ok(report) => say(&report.text(), super::DONE),
        Err(refusal) if json => say(&refusal_object(&*refusal), exit_code(refusal.kind())),
        Err(refusal) => complain(&*refusal, exit_code(refusal.kind())),
    }
}

/// The same object that the control plane answers with.
pub(super) fn refusal_object(refusal: &dyn Coded) -> String {
    let (code, message, hint) = (refusal.code(), refusal.to_string(), refusal.hint());
    format!("{:#}\n", json!({ "error": { "code": code, "message": message, "hint": hint } }))
}

/// A path as this shell means it.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    // It fails for an empty path only, which is refused with its own words later.
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(unmapped: bool, hazards: &[&str]) -> CheckReport {
        CheckReport {
            plugin: "handler".parse().unwrap(),
            label: "2".parse().unwrap(),
            digest: Digest([7; 32]),
            preflight: Duration::from_micros(2100),
            unmapped,
            hazards: hazards.iter().map(|hazard| (*hazard).to_owned()).collect(),
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn a_report_says_whether_it_unloads() {
        let head = "handler v2 would be loaded (sha256 070707…, preflight 2.1 ms";
        assert_eq!(report(true, &[]).text(), format!("{head}, unloads)\na note\n"));
        let text = format!(
            "{head}, may stay resident)\nhazards: 1 thread, 2 keys (each makes an unload harder, and may be what keeps it loaded)\na note\n"
        );
        assert_eq!(report(false, &["1 thread", "2 keys"]).text(), text);
        let expected = json!({
            "plugin": "handler",
            "label": "2",
            "digest": "07".repeat(32),
            "preflight_ms": 2.1,
            "unmapped": true,
            "hazards": [],
            "notes": ["a note"],
        });
        let object: serde_json::Value = serde_json::from_str(&report(true, &[]).object()).unwrap();
        assert_eq!(object, expected);
    }

    #[test]
    fn a_path_is_made_absolute_and_nothing_else() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("./a/../b.so".into()), here.join("a/../b.so"));
        assert_eq!(absolute("/x/./y".into()), PathBuf::from("/x/y"));
    }
}
