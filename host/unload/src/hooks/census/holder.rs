//! Names for who holds an address: `libcurl.so.4+0x1c20 (curl_global_init_mem?)`.
//!
//! Reads the symbol tables of the holder's file, which need not be the bytes that are mapped: what it
//! says is for people alone.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use object::{Object as _, ObjectSymbol as _, SymbolKind};

use super::scan::Hit;

/// Units: bytes of a file whose symbols are looked at.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Places whose names are remembered: the same ones are found at each look.
const NAMES_MAX: usize = 256;
/// Units: bytes between a symbol and a place that it might have to do with.
const NEAR: u64 = 64 << 10;

/// One line for all of them: the first, and how many there are.
pub(super) fn describe(hits: &[Hit]) -> String {
    let Some(first) = hits.first() else { return String::new() };
    let more = match hits.len() {
        1 => String::new(),
        2 => " and one place more".to_owned(),
        count => format!(" and {} places more", count - 1),
    };
    format!("{}{more}", place(first))
}

fn place(hit: &Hit) -> String {
    static NAMES: Mutex<BTreeMap<(PathBuf, usize), String>> = Mutex::new(BTreeMap::new());
    let path = match hit.holder.to_bytes() {
        [] => PathBuf::from("/proc/self/exe"),
        name => PathBuf::from(OsStr::from_bytes(name)),
    };
    let key = (path, hit.offset);
    let names = || NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names().get(&key) {
        return known.clone();
    }
    let file = match hit.holder.to_bytes() {
        [] => "the host".into(),
        _ => key.0.file_name().unwrap_or_default().to_string_lossy(),
    };
    let symbol = symbol(&key.0, hit.offset as u64).unwrap_or_default();
    let text = format!("{file}+{:#x}{symbol}", hit.offset);
    let mut names = names();
    if names.len() >= NAMES_MAX {
        names.clear();
    }
    names.insert(key, text.clone());
    text
}

/// ` (name)` of the symbol that `offset` lies in; ` (name?)` of the nearest one before it.
fn symbol(path: &Path, offset: u64) -> Option<String> {
    if fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let mut nearest: Option<(u64, bool, String)> = None;
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        let is_named = matches!(symbol.kind(), SymbolKind::Data | SymbolKind::Text);
        let Some(behind) = offset.checked_sub(symbol.address()) else { continue };
        if !symbol.is_definition() || !is_named || behind > NEAR {
            continue;
        }
        let inside = behind < symbol.size().max(1);
        let better = nearest.as_ref().is_none_or(|(known, known_inside, _)| {
            (inside, std::cmp::Reverse(behind)) > (*known_inside, std::cmp::Reverse(*known))
        });
        if better && let Ok(name) = symbol.name().map(str::to_owned) {
            nearest = Some((behind, inside, name));
        }
    }
    let (_, inside, name) = nearest?;
    Some(if inside { format!(" ({name})") } else { format!(" ({name}?)") })
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn hit(holder: &str, offset: usize) -> Hit {
        Hit { address: 0, word: 0, target: 0, holder: CString::new(holder).unwrap(), offset }
    }

    #[test]
    fn a_place_has_a_name() {
        let here = std::env::current_exe().unwrap();
        let bytes = fs::read(&here).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let symbol = file.symbols().find(|it| it.name() == Ok("place_of_this_test")).unwrap();
        let inside = usize::try_from(symbol.address()).unwrap() + 8;
        assert_eq!(place(&hit("", inside)), format!("the host+{inside:#x} (place_of_this_test)"));
        let path = here.to_str().unwrap();
        let name = here.file_name().unwrap().to_str().unwrap();
        let text = format!("{name}+{inside:#x} (place_of_this_test) and one place more");
        assert_eq!(describe(&[hit(path, inside), hit("/nowhere/lib.so", 1)]), text);
        assert_eq!(describe(&[hit("/nowhere/lib.so", 17)]), "lib.so+0x11");
        assert_eq!(describe(&[]), "");
    }

    // Found by its name above.
    #[expect(unsafe_code, reason = "a name to be found in a table")]
    #[unsafe(no_mangle)]
    #[used]
    static place_of_this_test: [u64; 4] = [1, 2, 3, 4];
}
