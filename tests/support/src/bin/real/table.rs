//! The table: one line a plugin, for a terminal and as Markdown.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crate::{Row, trial::Trial};

/// For a terminal.
pub(crate) fn lines(row: &Row) -> String {
    let mut text = format!("{:<16} {}", row.plugin.name, line(&row.trial));
    if let Some(renewing) = &row.renewing {
        let _ = write!(text, "\n{:<16} {}", "  (renewing)", line(renewing));
    }
    text
}

fn line(trial: &Trial) -> String {
    if let Some(why) = &trial.broken {
        return why.clone();
    }
    let mut line = format!(
        "{:>4} loads {:>6} requests, {} failed, {}, {}",
        trial.loads,
        trial.answered,
        trial.failed,
        unmapped(trial),
        flat(trial),
    );
    if let Some(growth) = trial.growth {
        let _ = write!(
            line,
            " ({:+.1} KiB, {:+.2} descriptors, {:+.2} threads)",
            growth.memory, growth.descriptors, growth.threads
        );
    }
    for remark in remarks(trial) {
        let _ = write!(line, "; {remark}");
    }
    line
}

fn unmapped(trial: &Trial) -> String {
    match trial.resident_count {
        0 => "unmapped".to_owned(),
        count => format!("{count} stay"),
    }
}

fn flat(trial: &Trial) -> String {
    match trial.growth {
        None => "-".to_owned(),
        Some(growth) if growth.is_flat() => "flat".to_owned(),
        Some(growth) => growth.parts().join(", "),
    }
}

/// What the host says.
fn remarks(trial: &Trial) -> Vec<String> {
    let mut remarks = trial.notes.clone();
    if trial.crashes > 0 {
        remarks.push(format!("{} workers ended", trial.crashes));
    }
    if trial.renewals > 0 {
        remarks.push(format!("{} workers were renewed", trial.renewals));
    }
    remarks.extend(trial.resident.iter().map(|why| format!("stays: {why}")));
    remarks.extend(trial.refused.iter().map(|it| format!("refused (`{}`): {}", it.code, it.text)));
    remarks.extend(trial.warning.clone());
    remarks
}

/// Where the rows begin.
const ROWS: &str = "\
    | dependency | used as | loads | requests | failed | unmapped | flat | remark | recipe |\n\
    |---|---|---|---|---|---|---|---|---|\n";

/// `docs/dependencies.md`.
pub(crate) fn document(head: &[String], rows: &[Row]) -> String {
    let mut text = String::from(
        "# Dependencies\n\n\
         What becomes of real crates and C libraries in a plugin: each is swapped again and again \
         under load, on a host of its own, and then signalled.\n\
         `make real-plugins` writes this table; the first column links the plugin, which is one \
         short file.\n\n",
    );
    for line in head {
        let _ = writeln!(text, "- {line}");
    }
    text.push_str(
        "\n*Loads* that were taken, *requests* that came meanwhile and were answered well, and those \
         that *failed*.\n\
         *Unmapped*: after each swap the old library is gone from the process, which the host has \
         verified; else how many stay (one of which the preflight says so is loaded 61 times).\n\
         *Flat*: nothing grows with swaps; else by how much with each (resident memory from 8 KiB, \
         descriptors, threads), behind the 20th.\n\
         *Remark*: what the host itself said, in quotation marks, and why that is so.\n\
         *Recipe*: what an author does to have it unload, or to have it grow less.\n\n\
         A dependency that is not here is tried in the same way: put one file into \
         `tests/real/heavy`, name it in the `Cargo.toml` beside it, and run \
         `make real-plugins ONLY=name`, which adds its row.\n\n",
    );
    text.push_str(ROWS);
    renew(&text, rows).unwrap_or(text)
}

/// The document with new rows in the place of those of the same plugins, by their names. `None`: it is
/// no such document.
pub(crate) fn renew(document: &str, rows: &[Row]) -> Option<String> {
    let (before, old) = document.split_once(ROWS)?;
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for line in old.lines() {
        let link = line.split_once("](")?.1.split_once(')')?.0;
        let name = Path::new(link).file_stem()?.to_str()?;
        all.insert(name.to_owned(), line.to_owned());
    }
    all.extend(rows.iter().map(|it| (it.plugin.name.clone(), row(it, &remark(it)))));
    let mut text = format!("{before}{ROWS}");
    for line in all.values() {
        let _ = writeln!(text, "{line}");
    }
    Some(text)
}

fn row(Row { plugin, trial, .. }: &Row, remark: &str) -> String {
    let first = format!("[{}](../{})", cell(&plugin.dependency), plugin.source.display());
    let figures = [
        trial.loads.to_string(),
        trial.answered.to_string(),
        trial.failed.to_string(),
        if trial.resident_count == 0 { "yes".to_owned() } else { unmapped(trial) },
        if flat(trial) == "flat" { "yes".to_owned() } else { flat(trial) },
    ];
    let figures = match trial.broken {
        Some(_) => ["-"; 5].join(" | "),
        None => figures.join(" | "),
    };
    let texts = [remark, plugin.recipe.as_deref().unwrap_or_default()].map(cell).join(" | ");
    format!("| {first} | {} | {figures} | {texts} |", cell(&plugin.how))
}

fn remark(row: &Row) -> String {
    let mut remarks: Vec<_> = remarks(&row.trial).into_iter().map(|it| format!("“{it}”")).collect();
    remarks.extend(row.trial.broken.clone());
    if let Some(renewing) = &row.renewing {
        remarks.push(format!(
            "With `recycle = \"auto\"`: {} loads, {} requests, {} failed, {} workers renewed.",
            renewing.loads, renewing.answered, renewing.failed, renewing.renewals
        ));
    }
    remarks.extend(row.plugin.note.clone());
    remarks.join(" ")
}

/// In one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::source::Plugin;

    fn of(name: &str, loads: u32) -> Row {
        let plugin = Plugin {
            name: name.to_owned(),
            source: PathBuf::from(format!("tests/real/{name}.rs")),
            dependency: name.to_owned(),
            how: "a | b".to_owned(),
            note: Some("It stays.".to_owned()),
            recipe: None,
            library: PathBuf::new(),
        };
        let notes = vec!["each load leaves 2 descriptors behind".to_owned()];
        let trial = Trial { loads, answered: 7, notes, ..Trial::default() };
        Row { plugin, trial, renewing: None }
    }

    #[test]
    fn rows_are_written_and_renewed_by_name() {
        let text = document(&["a machine".to_owned()], &[of("two", 1), of("four", 2)]);
        assert!(text.contains("\n- a machine\n"), "{text}");
        let renewed = renew(&text, &[of("two", 3), of("three", 4)]).unwrap();
        let (before, rows) = renewed.split_once(ROWS).unwrap();
        assert!(text.starts_with(before));
        let rows: Vec<_> = rows.lines().collect();
        let expected = |name: &str, loads: u32| {
            format!(
                "| [{name}](../tests/real/{name}.rs) | a \\| b | {loads} | 7 | 0 | yes | - | \
                 “each load leaves 2 descriptors behind” It stays. |  |"
            )
        };
        assert_eq!(rows, [expected("four", 2), expected("three", 4), expected("two", 3)]);
        assert_eq!(renew("another text", &[]), None);
    }
}
