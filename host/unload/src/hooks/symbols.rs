//! The C library's functions by their names, without asking the loader, which asks by functions that
//! the host has taken the place of.
//!
//! Reads the tables of symbols of what is mapped, under the loader's lock. Nothing here allocates: a
//! program may ask before its `main`. Source: gabi(5) and <https://sourceware.org/gnu-gabi/program-loading-and-dynamic-linking.txt>.
#![expect(unsafe_code, reason = "reads the loader's tables")]

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

use super::object;

// Tags of dynamic entries. Source: `<elf.h>`.
const DT_NULL: usize = 0;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_GNU_HASH: usize = 0x6fff_fef5;
const DT_VERSYM: usize = 0x6fff_fff0;

/// An older version of a symbol, which nobody gets without asking for it. Source: `<elf.h>`.
const HIDDEN: u16 = 0x8000;
/// Functions, and what has no type. Source: `<elf.h>`.
const PLAIN_TYPES: [u8; 2] = [0, 2];

struct Search<'a> {
    name: &'a CStr,
    /// An address in the C library.
    inside: usize,
    found: usize,
}

/// Where the C library has the function; what another object behind the executable has, where it has
/// none (older ones are in parts). Null: there is none.
pub(super) fn find(name: &CStr) -> *mut c_void {
    let inside = object::in_libc().addr();
    let mut search = Search { name, inside, found: 0 };
    // SAFETY: `look` fits, and gets the search, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    ptr::with_exposed_provenance_mut(search.found)
}

unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: the loader's own description of one object, for this call.
    let info = unsafe { &*info };
    // SAFETY: what `find` handed over, for this call alone.
    let search = unsafe { &mut *search.cast::<Search<'_>>() };
    // SAFETY: the loader keeps a C string there, or null.
    let is_executable = info.dlpi_name.is_null() || unsafe { *info.dlpi_name } == 0;
    if is_executable || info.dlpi_phdr.is_null() {
        return 0;
    }
    let address = |value: u64| usize::try_from(value).unwrap_or_default();
    let base = address(info.dlpi_addr);
    // SAFETY: its table of program headers, of that many entries.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let start = |it: &libc::Elf64_Phdr| base.wrapping_add(address(it.p_vaddr));
    let is_libc = headers.iter().any(|it| {
        let start = start(it);
        it.p_type == libc::PT_LOAD
            && (start..start.wrapping_add(address(it.p_memsz))).contains(&search.inside)
    });
    if search.found != 0 && !is_libc {
        return 0;
    }
    let dynamic = headers.iter().find(|it| it.p_type == libc::PT_DYNAMIC);
    // SAFETY: the dynamic section of an object that is mapped, whose tables the loader uses itself.
    let found = dynamic.and_then(|it| unsafe { symbol(base, start(it), search.name) });
    if let Some(found) = found {
        search.found = found;
    }
    // The C library's is the one that is wanted.
    c_int::from(is_libc && found.is_some())
}

/// # Safety
/// `dynamic` must be where an object's dynamic section stands that is mapped at `base`.
unsafe fn symbol(base: usize, dynamic: usize, name: &CStr) -> Option<usize> {
    let (mut names, mut symbols, mut versions, mut hashes) = (0, 0, 0, 0);
    let mut at = ptr::with_exposed_provenance::<[usize; 2]>(dynamic);
    loop {
        // SAFETY: an array that ends with `DT_NULL`, as the caller says.
        let [tag, value] = unsafe { *at };
        match tag {
            DT_NULL => break,
            DT_STRTAB => names = value,
            DT_SYMTAB => symbols = value,
            DT_VERSYM => versions = value,
            DT_GNU_HASH => hashes = value,
            _ => {}
        }
        // SAFETY: not the last one.
        at = unsafe { at.add(1) };
    }
    if [names, symbols, hashes].contains(&0) {
        return None;
    }
    // The loader adds the base in place, where it can write.
    let place = |value: usize| if value < base { base.wrapping_add(value) } else { value };
    let hashes = ptr::with_exposed_provenance::<u32>(place(hashes));
    let symbols = ptr::with_exposed_provenance::<libc::Elf64_Sym>(place(symbols));
    // SAFETY: the table begins with four numbers; then words of a filter, two numbers each.
    let (buckets, first, filter) = unsafe { (*hashes, *hashes.add(1), *hashes.add(2)) };
    // SAFETY: behind them stand as many buckets as it has said.
    let table = unsafe { hashes.add(4 + 2 * filter as usize) };
    let wanted =
        name.to_bytes().iter().fold(5381_u32, |sum, byte| sum.wrapping_mul(33) + u32::from(*byte));
    // SAFETY: one of the buckets.
    let mut number = unsafe { *table.add(wanted.checked_rem(buckets)? as usize) };
    if number < first {
        return None;
    }
    loop {
        // SAFETY: behind the buckets stands a number for each symbol from `first` on; the last one of
        // a bucket is odd.
        let hash = unsafe { *table.add((buckets + number - first) as usize) };
        // SAFETY: a symbol that the table knows.
        let symbol = unsafe { &*symbols.add(number as usize) };
        let text = ptr::with_exposed_provenance(place(names) + symbol.st_name as usize);
        // SAFETY: a symbol's name, which is a C string.
        let is_it = hash | 1 == wanted | 1 && unsafe { CStr::from_ptr(text) } == name;
        let version = ptr::with_exposed_provenance::<u16>(place(versions));
        // SAFETY: there is one for each symbol, if there are any.
        let is_old = versions != 0 && unsafe { *version.add(number as usize) } & HIDDEN != 0;
        let is_plain = symbol.st_shndx != 0 && PLAIN_TYPES.contains(&(symbol.st_info & 15));
        if is_it && is_plain && !is_old {
            return Some(base.wrapping_add(usize::try_from(symbol.st_value).ok()?));
        }
        if hash & 1 == 1 {
            return None;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loader itself says the same of what the host has no function for, or has one behind which
    /// it looks.
    #[test]
    fn it_finds_what_the_loader_finds() {
        for name in [c"getppid", c"free", c"pthread_create", c"timer_create", c"dlsym", c"exit"] {
            // SAFETY: the name is a C string.
            let theirs = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
            assert_eq!((find(name), theirs.is_null()), (theirs, false), "{name:?}");
        }
        assert!(find(c"no such function").is_null());
    }
}
