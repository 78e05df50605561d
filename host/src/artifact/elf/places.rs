//! Where the loader looks for the libraries that a library needs, for whoever reads that one of them
//! was not found, or that another one was taken than lies beside it.
//!
//! What is loaded is a private copy in a folder of its own, so `$ORIGIN` leads nowhere there. This knows
//! where it would have led from the file that its author gave. Invariant: files that a library needs are
//! looked at, and neither run nor kept.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::tables::{Dynamic, Tables};

/// What the loader says when a library is nowhere. Source: glibc, `elf/dl-load.c`.
const NOT_FOUND: &str = ": cannot open shared object file: No such file or directory";

/// The folder of the file itself. Source: ld.so(8), "Dynamic string tokens".
const ORIGINS: [&str; 2] = ["${ORIGIN}", "$ORIGIN"];
/// What a system calls its folder of libraries, and what that is.
const LIBS: [&str; 2] = ["${LIB}", "$LIB"];
const LIB_NAMES: [&str; 3] = ["lib", "lib64", "lib/x86_64-linux-gnu"];

fn is_origin(place: &str) -> bool {
    ORIGINS.iter().any(|it| place.contains(it))
}

/// The folders that `place` is for a file in `folder`.
fn expand(place: &str, folder: &Path) -> Vec<PathBuf> {
    let folder = folder.to_string_lossy();
    let place = ORIGINS.iter().fold(place.to_owned(), |place, it| place.replace(it, &folder));
    if !LIBS.iter().any(|it| place.contains(it)) {
        return vec![place.into()];
    }
    let with = |name: &str| LIBS.iter().fold(place.clone(), |place, it| place.replace(it, name));
    LIB_NAMES.iter().map(|name| with(name).into()).collect()
}

/// A library that a file finds by where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The name that it is needed by.
    pub wanted: String,
    /// Where it lies.
    pub path: PathBuf,
    /// It is found there before the folders of `LD_LIBRARY_PATH` are looked at.
    pub first: bool,
}

/// What the library whose content is `bytes` finds by its own place, from a file in `folder`: what it
/// names itself, and not what is found before that in a folder with a name of its own.
#[must_use]
pub fn beside(bytes: &[u8], folder: &Path) -> Vec<Beside> {
    let dynamic = dynamic(bytes);
    let find = |wanted: &String| {
        if wanted.contains('/') {
            let path = expand(wanted, folder).into_iter().find(|it| it.is_file());
            let path = path.filter(|_| is_origin(wanted))?;
            return Some(Beside { wanted: wanted.clone(), path, first: true });
        }
        let found = dynamic.search.iter().find_map(|place| {
            let files = expand(place, folder).into_iter().map(|it| it.join(wanted));
            Some((place, files.into_iter().find(|it| it.is_file())?))
        });
        let (_, path) = found.filter(|(place, _)| is_origin(place))?;
        Some(Beside { wanted: wanted.clone(), path, first: !dynamic.runpath })
    };
    dynamic.needed.iter().filter_map(find).collect()
}

fn dynamic(bytes: &[u8]) -> Dynamic {
    Tables::read(bytes).and_then(|tables| tables.dynamic()).unwrap_or_default()
}

/// Facts about a file that may be mapped somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Device, as the kernel shows it of what is mapped, and inode.
    pub file: Option<(String, u64)>,
    /// In hexadecimal digits.
    pub build_id: Option<String>,
}

impl OnDisk {
    /// Those of the library at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let file = fs::metadata(path).ok().map(|it| {
            let (major, minor) = (rustix::fs::major(it.dev()), rustix::fs::minor(it.dev()));
            (format!("{major:02x}:{minor:02x}"), it.ino())
        });
        let bytes = fs::read(path).unwrap_or_default();
        let build_id = Tables::read(&bytes).ok().and_then(|tables| tables.build_id());
        let digits = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { file, build_id: build_id.map(digits) }
    }
}

/// How a library is found that lies in `folder`, by what is loaded from elsewhere.
#[must_use]
pub fn remedy(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "install it in a folder of the system (and run `ldconfig`), link it statically, link the \
         plugin with its folder as an absolute path (`-Wl,-rpath,{folder}`), or start the host with \
         `LD_LIBRARY_PATH={folder}`"
    )
}

/// What to do about the loader's `text` on the library whose content is `bytes`: which one is
/// missing, where it was looked for, and how it is found. `None`: the text says something else.
///
/// `folder` is that of the file which its author gave, if there is one.
#[must_use]
pub fn explain(
    bytes: &[u8],
    text: &str,
    folder: Option<&Path>,
    library_path: Option<&str>,
) -> Option<String> {
    let missing = text.split(NOT_FOUND).next().filter(|rest| rest.len() < text.len())?;
    let missing = missing.rsplit(": ").next()?;
    let missing = missing.rsplit('/').next()?;
    let dynamic = dynamic(bytes);
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
    let named = |it: &String| it.rsplit('/').next() == Some(missing);
    let by =
        if dynamic.needed.iter().any(named) { "" } else { ", which one of its libraries needs," };
    let yours = folder.and_then(|folder| lies(missing, folder, &dynamic.search));
    let here = yours.as_ref().map_or_else(String::new, |path| {
        format!("; yours is `{}`, and nobody looks there", path.display())
    });
    let remedy = remedy(yours.as_deref().and_then(Path::parent).unwrap_or(Path::new("/FOLDER")));
    Some(format!("`{missing}`{by} was looked for in {places}{here}: {remedy}"))
}

/// Where a library of this name lies beside the author's file.
fn lies(name: &str, folder: &Path, search: &[String]) -> Option<PathBuf> {
    let places = search.iter().filter(|it| is_origin(it)).flat_map(|it| expand(it, folder));
    let places = places.chain([folder.to_owned()]).map(|it| it.join(name));
    let found = places.into_iter().find(|it| it.is_file())?;
    // `/ship/bin/../lib` is nothing that anybody wants to read; what cannot be told is told as it is.
    Some(fs::canonicalize(found.parent()?).map_or(found.clone(), |it| it.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let folder = Path::new("/ship");
        assert_eq!(expand("$ORIGIN", folder), [Path::new("/ship")]);
        assert_eq!(expand("${ORIGIN}/../x", folder), [Path::new("/ship/../x")]);
        assert_eq!(expand("/opt/x", folder), [Path::new("/opt/x")]);
        assert_eq!(
            expand("$ORIGIN/$LIB", folder)[..2],
            ["/ship/lib", "/ship/lib64"].map(Path::new)
        );
        assert!(is_origin("$ORIGIN/lib") && is_origin("${ORIGIN}") && !is_origin("/ORIGIN"));
    }

    #[test]
    fn the_authors_copy_is_found_and_shown_plainly() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (bin, lib) = (root.join("bin"), root.join("lib"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&lib).unwrap();
        assert_eq!(lies("libx.so.1", &bin, &["$ORIGIN/../lib".to_owned()]), None);
        fs::write(lib.join("libx.so.1"), b"").unwrap();
        assert_eq!(lies("libx.so.1", &bin, &[]), None);
        let found = lies("libx.so.1", &bin, &["$ORIGIN/../lib".to_owned()]);
        assert_eq!(found, Some(lib.join("libx.so.1")));
        fs::write(bin.join("libx.so.1"), b"").unwrap();
        assert_eq!(lies("libx.so.1", &bin, &[]), Some(bin.join("libx.so.1")));
    }

    #[test]
    fn a_file_is_told_by_inode_and_build() {
        let path = std::env::current_exe().unwrap();
        let found = OnDisk::of(&path);
        assert_eq!(found.file.unwrap().1, fs::metadata(&path).unwrap().ino());
        assert_eq!(OnDisk::of(Path::new("/no/such")), OnDisk::default());
    }
}
