//! The table: one line a plugin, for a terminal and as Markdown.

use std::fmt::Write as _;

use crate::{
    source::Plugin,
    trial::{Trial, Verdict},
};

/// For a terminal.
pub(crate) fn line(plugin: &Plugin, trial: &Trial) -> String {
    let mut line = format!(
        "{:<16} {:>4} loads {:>7} requests, {} failed, {}; {:+} KiB, {:+} descriptors, {:+} threads",
        plugin.name,
        trial.loads,
        trial.answered,
        trial.failed,
        unmapped(trial),
        trial.growth_kib,
        trial.descriptors,
        trial.threads,
    );
    if let Some(why) = remark(trial) {
        let _ = write!(line, "; {why}");
    }
    if !trial.worker_lives {
        line.push_str("; THE WORKER ENDED");
    }
    line
}

fn unmapped(trial: &Trial) -> &'static str {
    if trial.resident.is_some() { "stays" } else { "unmapped" }
}

fn flat(trial: &Trial) -> String {
    match trial.verdict() {
        Verdict::Flat => "yes".to_owned(),
        Verdict::Grows | Verdict::Told | Verdict::Bad => {
            format!("{:+} KiB, {:+} descriptors", trial.growth_kib, trial.descriptors)
        }
    }
}

fn remark(trial: &Trial) -> Option<String> {
    let stays = trial.resident.as_ref().map(|(count, why)| format!("{count} stay: {why}"));
    let refused = trial.refused.as_ref().map(|why| format!("refused: {why}"));
    let all: Vec<_> = stays.into_iter().chain(refused).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// `docs/dependencies.md`.
pub(crate) fn document(rows: &[(Plugin, Trial)], swaps: u32) -> String {
    let mut text = format!(
        "# Dependencies\n\n\
         What becomes of real crates and C libraries in a plugin that is swapped {swaps} times under \
         load.\nWritten by `make real-plugins`; the plugins are in `tests/real`.\n\n\
         *Unmapped*: after each swap the old library is gone from the process. *Flat*: from the \
         20th swap to the last, memory grows by less than 2 MiB, descriptors by no more than 2, \
         threads by no more than 1.\n\n\
         | dependency | used as | loads | requests | failed | unmapped | flat | remark | recipe |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for (plugin, trial) in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            plugin.dependency,
            cell(&plugin.how),
            trial.loads,
            trial.answered,
            trial.failed,
            if trial.resident.is_some() { "no" } else { "yes" },
            flat(trial),
            cell(&remark(trial).unwrap_or_default()),
            cell(plugin.recipe.as_deref().unwrap_or_default()),
        );
    }
    text
}

/// In one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
