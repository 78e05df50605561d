//! Cells for people: what `hotseat cells` prints.

use std::fmt::{self, Write as _};

use super::{one_line, table::Table, unit};
use crate::{
    admin::answer::lines,
    cells::{Listed, Value},
    status::CellsStatus,
};

/// Bytes of a line where a value is no text.
const HEX_LINE: usize = 16;

/// Who has how many.
pub(in crate::admin) fn cells(cells: &[CellsStatus]) -> String {
    if cells.is_empty() {
        return "no plugin has cells\n".to_owned();
    }
    let mut table = Table::new();
    table.row(["plugin", "cells", "size", "kept"]);
    for CellsStatus { plugin, count, bytes, on_disk } in cells {
        let kept = if *on_disk { "on the disk" } else { "in memory" };
        table.row([plugin.as_str(), &count.to_string(), &unit::bytes(*bytes), kept]);
    }
    table.to_string()
}

/// A line of the status for each.
pub(super) fn write(page: &mut String, cells: &[CellsStatus]) -> fmt::Result {
    for CellsStatus { plugin, count, bytes, on_disk } in cells {
        let kept = if *on_disk { ", on the disk" } else { "" };
        writeln!(page, "cells: {plugin} has {count}, {}{kept}", unit::bytes(*bytes))?;
    }
    Ok(())
}

/// The keys of a plugin.
pub(in crate::admin) fn keys(list: &[Listed]) -> String {
    let mut table = Table::new();
    table.row(["key", "version", "size"]);
    for Listed { key, version, bytes } in list {
        let version = if *version == 0 { "damaged".to_owned() } else { version.to_string() };
        table.row([&*one_line(key), &version, &unit::bytes(*bytes)]);
    }
    table.to_string()
}

/// One value: its text, or what it is in hexadecimal digits.
pub(in crate::admin) fn value(value: &Value) -> String {
    if let Ok(text) = std::str::from_utf8(&value.bytes) {
        return lines(text) + "\n";
    }
    let mut page = String::new();
    for line in value.bytes.chunks(HEX_LINE) {
        let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(page, "{}", bytes.join(" "));
    }
    page
}
