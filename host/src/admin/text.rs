//! The pages for people: what `hotseat status`, `history` and `GET /` print.
//!
//! Owns wording and alignment. Every text from outside (paths, names of files) goes through
//! `one_line`, so that nothing moves a terminal's cursor.

use std::{
    fmt::{self, Write},
    path::Path,
};

use self::table::Table;
pub(super) use self::{
    cells::{cells, keys, value},
    process::outcome,
};
use super::{answer::one_line, wire::time::rfc3339};
use crate::state::history::Entry;
use crate::status::{
    Address, GenerationStatus, Life, OrderStatus, PluginStatus, Residents, Status, Swaps,
    Unwritable,
};
use crate::sys::clock::Now;

mod cells;
mod process;
mod table;
mod unit;

/// Holders that are listed of each generation; the JSON has all of them.
const HOLDER_COUNT: usize = 10;

/// Generations that are listed of each group that stays; the JSON has all of them.
const RESIDENT_COUNT: usize = 5;

/// The whole status.
pub(super) fn status(status: &Status, working_dir: &Path, now: &Now) -> String {
    let mut page = String::new();
    write_status(&mut page, status, working_dir, now).expect("writing to a string does not fail");
    page
}

fn write_status(page: &mut String, status: &Status, working_dir: &Path, now: &Now) -> fmt::Result {
    let (version, stage, pid) = (status.host_version, status.stage.as_str(), status.pid);
    let up = unit::span(now.since(status.up_from, status.started));
    let memory = status.rss_bytes.map(|it| format!(", {}", unit::bytes(it))).unwrap_or_default();
    writeln!(page, "hotseat {version}, {stage}, pid {pid}, up {up}{memory}")?;
    let list =
        |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut head = Table::new();
    head.row(["data", &list(&status.listen).join(", ")]);
    head.row(["control", &list(&status.control).join(", ")]);
    let folder = status.plugins_dir.as_ref();
    let folder = folder.map_or_else(|| "not watched".to_owned(), |path| path.display().to_string());
    head.row(["plugins", &folder]);
    head.row(["state", &status.state_dir.display().to_string()]);
    head.row(["paths from", &working_dir.display().to_string()]);
    writeln!(page, "{head}")?;
    process::write_processes(page, &status.processes, now)?;
    if status.plugins.is_empty() {
        let command = Address::deploy_command(&status.control, &status.example_library);
        writeln!(page, "nothing is loaded; try: {command}")?;
    } else {
        page.write_str(&plugins(&status.plugins))?;
        if status.plugins.iter().any(|it| it.active.as_ref().is_some_and(|it| it.heap.is_some())) {
            let rest = unit::bytes(status.c_heap_bytes);
            writeln!(page, "heap: of the process beside that, C libraries included: {rest} live")?;
        }
    }
    cells::write(page, &status.cells)?;
    if let lines @ 1.. = status.all_log_dropped() {
        writeln!(page, "log: {lines} lines were dropped, because nobody took them in time")?;
    }
    for mount in &status.missing {
        writeln!(page, "missing: nothing serves {}", one_line(mount))?;
    }
    for (path, why) in &status.files {
        writeln!(page, "not deployed: {}: {}", one_line(&path.to_string_lossy()), one_line(why))?;
    }
    if let Some(Unwritable { text, hint, since, .. }) = &status.unwritable {
        let span = unit::span(now.wall.duration_since(*since).unwrap_or_default());
        writeln!(page, "nothing can be changed, for {span}: {}", one_line(text))?;
        if let Some(hint) = hint {
            writeln!(page, "hint: {}", one_line(hint))?;
        }
    }
    if let Some(why) = &status.never_unload {
        writeln!(page, "never unloads: {}", one_line(why))?;
    }
    if let Some(why) = &status.census {
        writeln!(page, "does not see all who hold a library: {}", one_line(why))?;
    }
    if let Some(last) = &status.upgrade {
        process::write_upgrade(page, last, now.wall)?;
    }
    for Swaps { plugin, count, median } in status.swaps() {
        if median.is_notable() {
            writeln!(page, "left: {plugin}: {median} with each swap (median of {count})")?;
        }
    }
    if let Some(warning) = status.growth.warning() {
        writeln!(page, "warning: {warning}")?;
    }
    write_retired(page, status)?;
    write_residents(page, status)?;
    write_blocked(page, status)?;
    let is_open = |order: &&OrderStatus| matches!(order.state, "running" | "waiting");
    let mut open = status.orders.iter().filter(is_open).peekable();
    if open.peek().is_some() {
        page.write_str("\norders\n")?;
    }
    open.try_for_each(|order| write_order(page, order))
}

/// The plugins alone.
pub(super) fn plugins(plugins: &[PluginStatus]) -> String {
    let mut table = Table::new();
    table.row(["plugin", "mounted at", "serves", "generation", "sha256", "requests", "failed"]);
    for plugin in plugins {
        let counts = plugin.counts;
        let failed = counts.errors + counts.panics + counts.timeouts + counts.cut;
        let (serves, generation, digest) = match &plugin.active {
            Some(active) => {
                let digest = format!("{}…", &active.digest.short()[..8]);
                (active.label.to_string(), active.generation.to_string(), digest)
            }
            None => ("nothing".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        table.row([
            plugin.name.as_str(),
            &one_line(&plugin.mounts.join(", ")),
            &serves,
            &generation,
            &digest,
            &counts.requests.to_string(),
            &failed.to_string(),
        ]);
    }
    let mut page = table.to_string();
    for plugin in plugins {
        if let Some(warning) = &plugin.warning {
            // Writing to a string does not fail.
            let _ = writeln!(page, "warning: {}: {}", plugin.name, one_line(warning));
        }
        let leaves = plugin.active.as_ref().and_then(|active| active.leaves.as_ref());
        if let Some(leaves) = leaves {
            let _ = writeln!(page, "note: {}: {}", plugin.name, one_line(&leaves.text));
        }
    }
    let config = |it: &PluginStatus| Some((it.name.clone(), it.active.as_ref()?.config.clone()?));
    for (plugin, config) in plugins.iter().filter_map(config) {
        let _ = writeln!(page, "config: {plugin}: {config}");
    }
    for (plugin, heap) in plugins.iter().filter_map(|it| Some((it, it.active.as_ref()?.heap?))) {
        let [live, held, peak] = [heap.live, heap.held, heap.peak].map(unit::bytes);
        let _ = writeln!(page, "heap: {}: {live} live, {held} held, {peak} at most", plugin.name);
    }
    page
}

fn write_retired(page: &mut String, status: &Status) -> fmt::Result {
    let left = |generation: &&GenerationStatus| {
        !matches!(generation.life, Life::Unloaded | Life::Resident(_))
    };
    let mut retired = status.retired.iter().filter(left).peekable();
    if retired.peek().is_some() {
        page.write_str("\nleft traffic\n")?;
    }
    for generation in retired {
        let GenerationStatus { plugin, label, generation: number, holder_count, .. } = generation;
        let life = match &generation.life {
            Life::Serving => "serving".to_owned(),
            Life::Draining => format!("draining, {holder_count} in flight"),
            Life::Pending(why) => format!("pending: {}", one_line(why)),
            // Listed by themselves, and not at all.
            Life::Resident(_) | Life::Unloaded => continue,
        };
        let heap = generation.heap.filter(|heap| heap.held > 0);
        let heap = heap.map(|heap| format!("; heap of {}", unit::bytes(heap.held)));
        let heap = heap.unwrap_or_default();
        writeln!(page, "  {plugin} {label} (generation {number}) {life}{heap}")?;
        let mut holders = Table::new();
        for holder in generation.holders.iter().take(HOLDER_COUNT) {
            holders.row([
                &format!("    request {}", holder.request),
                &one_line(&format!("{} {}", holder.method, holder.path)),
                holder.doing,
                &unit::span(holder.age),
                &one_line(&holder.peer),
            ]);
        }
        write!(page, "{holders}")?;
        let listed = generation.holders.len().min(HOLDER_COUNT);
        if let Some(more @ 1..) = holder_count.checked_sub(listed) {
            writeln!(page, "    and {more} more")?;
        }
    }
    Ok(())
}

/// What stays mapped, by plugin and reason.
fn write_residents(page: &mut String, status: &Status) -> fmt::Result {
    let groups = status.residents();
    if !groups.is_empty() {
        page.write_str("\nresident\n")?;
    }
    for Residents { plugin, why, generations, threads, heap } in groups {
        let numbers: Vec<String> =
            generations.iter().rev().take(RESIDENT_COUNT).map(ToString::to_string).collect();
        let more = generations.len().saturating_sub(RESIDENT_COUNT);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let plural = if generations.len() == 1 { "" } else { "s" };
        let numbers = numbers.join(", ");
        let heap = Some(heap).filter(|heap| *heap > 0);
        let heap = heap.map(|heap| format!("; heap of {}", unit::bytes(heap))).unwrap_or_default();
        let why = one_line(&why);
        writeln!(page, "  {plugin} (generation{plural} {numbers}{more}): {why}{heap}")?;
        if !threads.is_empty() {
            let name = |(name, count): (&String, &usize)| match count {
                1 => one_line(name),
                count => format!("{count} x {}", one_line(name)),
            };
            let names: Vec<String> = threads.iter().map(name).collect();
            writeln!(page, "    threads: {}", names.join(", "))?;
        }
    }
    Ok(())
}

fn write_blocked(page: &mut String, status: &Status) -> fmt::Result {
    let blocked = status.cores.iter().filter_map(|core| Some((core.core, core.blocked.as_ref()?)));
    for (core, blocked) in blocked {
        let crate::status::Blocked { code, doing, request, since } = blocked;
        write!(page, "\nblocked: core {core} for {} by ", unit::span(*since))?;
        match code {
            Some((plugin, generation)) => write!(page, "{plugin} (generation {generation})")?,
            None => page.write_str("the host itself")?,
        }
        match request {
            Some((request, path)) => writeln!(page, ", request {request}, {}", one_line(path))?,
            None => writeln!(page, ", {doing}")?,
        }
    }
    Ok(())
}

fn write_order(page: &mut String, order: &OrderStatus) -> fmt::Result {
    let OrderStatus { order, verb, subject, state, outcome } = order;
    write!(page, "  {order} {state}: {verb} {}", one_line(subject))?;
    match outcome {
        Some(outcome) => writeln!(page, ": {}", one_line(outcome)),
        None => writeln!(page),
    }
}

/// Orders, one a line.
pub(super) fn orders(orders: &[OrderStatus]) -> String {
    if orders.is_empty() {
        return "no orders yet\n".to_owned();
    }
    let mut page = String::new();
    orders
        .iter()
        .try_for_each(|order| write_order(&mut page, order))
        .expect("writing to a string does not fail");
    page
}

/// The history, newest first.
pub(super) fn history(lines: &[Entry]) -> String {
    if lines.is_empty() {
        return "no history yet\n".to_owned();
    }
    let mut table = Table::new();
    for line in lines {
        table.row([
            &rfc3339(line.at),
            &line.by.map_or(line.source.clone(), |by| format!("{} ({by})", line.source)),
            &line.verb,
            &one_line(&line.outcome),
            &one_line(&line.text),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests;
