//! Where the loader looks for the libraries that a library needs, for whoever reads that one of them
//! was not found.

use super::tables::Tables;

/// What the loader says when a library is nowhere. Source: glibc, `elf/dl-load.c`.
const NOT_FOUND: &str = ": cannot open shared object file: No such file or directory";

/// What to do about the loader's `text` on the library whose content is `bytes`: which one is
/// missing, where it was looked for, and how it is found. `None`: the text says something else.
#[must_use]
pub fn explain(bytes: &[u8], text: &str, library_path: Option<&str>) -> Option<String> {
    let missing = text.split(NOT_FOUND).next().filter(|rest| rest.len() < text.len())?;
    let missing = missing.rsplit(": ").next()?;
    let dynamic = Tables::read(bytes).and_then(|tables| tables.dynamic()).unwrap_or_default();
    let is_origin = |it: &str| it.contains("$ORIGIN") || it.contains("${ORIGIN}");
    let origin = dynamic.search.iter().any(|it| is_origin(it));
    let mut places: Vec<String> = Vec::new();
    for place in &dynamic.search {
        places.push(match is_origin(place) {
            true => format!("`{place}` (of the host's private copy, not of your file)"),
            false => format!("`{place}`"),
        });
    }
    match library_path {
        Some(list) => places.push(format!("the host's LD_LIBRARY_PATH (`{list}`)")),
        None => places.push("the host's LD_LIBRARY_PATH (not set)".to_owned()),
    }
    places.push("the system's folders".to_owned());
    let places = places.join(", ");
    let by = if dynamic.needed.iter().any(|it| it == missing) {
        ""
    } else {
        ", which one of its libraries needs,"
    };
    let beside = if origin { "" } else { "install it, " };
    Some(format!(
        "`{missing}`{by} was looked for in {places}: {beside}link it statically, link the plugin with its \
         folder as an absolute path (`-Wl,-rpath,/FOLDER`), or start the host with \
         `LD_LIBRARY_PATH=/FOLDER`"
    ))
}
