//! On which line of the file each key of a plugin's table stands.
//!
//! Owns the paths by which messages name a place (`db.pool[1]`). The text was understood before: what it
//! means is nothing to this.

use std::{collections::BTreeMap, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::config::plugin::Places;

/// Of one table; what is deeper in a larger one has the line of what is around it.
const LINES_COUNT: usize = 4096;

/// The places of every table `[plugin.NAME]` in `text`, by its name.
pub(super) fn of(file: &Path, text: &str) -> BTreeMap<String, Places> {
    let Ok(document) = DeTable::parse(text) else { return BTreeMap::new() };
    let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let document = document.into_inner();
    let plugins = document.iter().find(|(key, _)| key.get_ref() == "plugin");
    let plugins = plugins.and_then(|(_, value)| value.get_ref().as_table());
    let mut found = BTreeMap::new();
    for (name, value) in plugins.into_iter().flatten() {
        let mut lines = Lines { starts: &starts, found: BTreeMap::new() };
        lines.enter(value.get_ref(), "");
        let (file, line) = (file.to_owned(), lines.of(name));
        found.insert(name.get_ref().to_string(), Places { file, line, lines: lines.found });
    }
    found
}

struct Lines<'a> {
    /// Where a line ends.
    starts: &'a [usize],
    found: BTreeMap<String, usize>,
}

impl Lines<'_> {
    fn of<T>(&self, what: &Spanned<T>) -> usize {
        self.starts.partition_point(|end| *end < what.span().start) + 1
    }

    fn note(&mut self, path: String, line: usize, value: &DeValue<'_>) {
        if self.found.len() < LINES_COUNT {
            self.enter(value, &path);
            self.found.insert(path, line);
        }
    }

    fn enter(&mut self, value: &DeValue<'_>, path: &str) {
        if let Some(table) = value.as_table() {
            for (key, inner) in table {
                let name = key.get_ref();
                let path =
                    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                self.note(path, self.of(key), inner.get_ref());
            }
        }
        for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
            self.note(format!("{path}[{at}]"), self.of(inner), inner.get_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_line() {
        let text = "threads = 2\n\n[plugin.shop]\nroom = 'a'\ndb.pool = [\n  1,\n  300,\n]\n\n\
                    [plugin.shop.mail]\nto = 'x'\n\n[[plugin.shop.list]]\nat = 1\n[plugin.other]\n";
        let found = of(Path::new("/x.toml"), text);
        let shop = &found["shop"];
        assert_eq!((shop.file.as_path(), shop.line), (Path::new("/x.toml"), 3));
        let wanted = [
            ("db", 5),
            ("db.pool", 5),
            ("db.pool[0]", 6),
            ("db.pool[1]", 7),
            ("list", 13),
            ("list[0]", 13),
            ("list[0].at", 14),
            ("mail", 10),
            ("mail.to", 11),
            ("room", 4),
        ];
        let lines: Vec<_> = shop.lines.iter().map(|(path, line)| (path.as_str(), *line)).collect();
        assert_eq!(lines, wanted);
        assert_eq!((found["other"].line, found["other"].lines.len()), (15, 0));
        assert!(of(Path::new("/x"), "plugin = 1").is_empty());
        assert!(of(Path::new("/x"), "").is_empty());
    }

    #[test]
    fn a_large_table_is_known_by_its_outlines() {
        let list = "1, ".repeat(LINES_COUNT * 2);
        let text = format!("[plugin.a]\nlist = [{list}]\nlast = 1\n");
        assert_eq!(of(Path::new("/x"), &text)["a"].lines.len(), LINES_COUNT + 1);
    }
}
