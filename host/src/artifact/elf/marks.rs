//! A library without what would keep it loaded for ever.
//!
//! Two marks do so: `DF_1_NODELETE`, which some toolchains put on everything, and symbols that there
//! may be once in a process only (`STB_GNU_UNIQUE`), of which the first library that is loaded has the
//! copy that all others use. The first is cleared; the second becomes a weak symbol, which is what
//! `g++ -fno-gnu-unique` makes of it: then each library uses its own.
//! Invariant: as in the room above it, every offset in the file is taken as a claim; what does not
//! lie inside the file is left as it is.

use object::elf as format;

/// A library without its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmarked {
    /// Its bytes, as long as before.
    pub bytes: Vec<u8>,
    /// It was marked to stay.
    pub nodelete: bool,
    /// How many symbols were unique.
    pub unique_count: usize,
}

impl Unmarked {
    /// What was done, for people.
    #[must_use]
    pub fn note(&self) -> String {
        let nodelete = self.nodelete.then(|| "its mark to stay loaded (DF_1_NODELETE)".to_owned());
        let unique = match self.unique_count {
            0 => None,
            1 => Some("the mark of 1 unique symbol".to_owned()),
            count => Some(format!("the marks of {count} unique symbols")),
        };
        let isolated =
            if unique.is_some() { "; its statics are isolated from other versions" } else { "" };
        let marks: Vec<_> = nodelete.into_iter().chain(unique).collect();
        format!("{} is left out of the host's copy, which unloads{isolated}", marks.join(" and "))
    }
}

/// `bytes` without the marks; `None` where there are none, or where it is no such library.
#[must_use]
pub fn without(bytes: &[u8]) -> Option<Unmarked> {
    let file = File::read(bytes)?;
    let flags: Vec<_> = file.flags.iter().filter(|(_, value)| value & NODELETE != 0).collect();
    let unique = file.unique_symbols();
    if flags.is_empty() && unique.is_empty() {
        return None;
    }
    let mut unmarked =
        Unmarked { bytes: bytes.to_vec(), nodelete: !flags.is_empty(), unique_count: unique.len() };
    for (at, value) in flags {
        unmarked.bytes[*at..at + 8].copy_from_slice(&(value & !NODELETE).to_le_bytes());
    }
    for at in unique {
        let kind = unmarked.bytes[at] & 0xf;
        unmarked.bytes[at] = format::STB_WEAK.0 << 4 | kind;
    }
    Some(unmarked)
}

const NODELETE: u64 = format::DF_1_NODELETE.0;
/// Units: bytes of an entry of the symbol table.
const SYMBOL: usize = 24;

/// What of the file is looked at.
struct File<'file> {
    bytes: &'file [u8],
    /// Address, offset and length of what is mapped.
    loads: Vec<(u64, u64, u64)>,
    /// Offsets and values of `DT_FLAGS_1`.
    flags: Vec<(usize, u64)>,
    symbols: Option<u64>,
    gnu_hash: Option<u64>,
    hash: Option<u64>,
}

impl<'file> File<'file> {
    fn read(bytes: &'file [u8]) -> Option<Self> {
        let (loads, flags) = (Vec::new(), Vec::new());
        let (symbols, gnu_hash, hash) = (None, None, None);
        let mut file = Self { bytes, loads, flags, symbols, gnu_hash, hash };
        let mut dynamic = None;
        for header in file.table(32, 54, 56)? {
            let [offset, address, length] = [8, 16, 32].map(|field| file.long(header + field));
            let (offset, address, length) = (offset?, address?, length?);
            match file.word(header)? {
                kind if kind == format::PT_LOAD.0 => file.loads.push((address, offset, length)),
                // The loader takes the last one, too.
                kind if kind == format::PT_DYNAMIC.0 => dynamic = Some((address, length)),
                _ => {}
            }
        }
        let (address, length) = dynamic?;
        let start = file.offset_of(address)?;
        for entry in (start..start.checked_add(usize::try_from(length).ok()?)?).step_by(16) {
            let value = file.long(entry + 8)?;
            match format::DynamicTag(i64::try_from(file.long(entry)?).ok()?) {
                format::DT_NULL => break,
                format::DT_FLAGS_1 => file.flags.push((entry + 8, value)),
                format::DT_SYMTAB => file.symbols = Some(value),
                format::DT_GNU_HASH => file.gnu_hash = Some(value),
                format::DT_HASH => file.hash = Some(value),
                _ => {}
            }
        }
        Some(file)
    }

    fn bytes_at<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn long(&self, at: usize) -> Option<u64> {
        self.bytes_at(at).map(u64::from_le_bytes)
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.bytes_at(at).map(u32::from_le_bytes)
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.bytes_at(at).map(u16::from_le_bytes)
    }

    /// The offsets of the entries of a table that the header names by its offset, the size of an
    /// entry and how many there are.
    fn table(&self, offset: usize, size: usize, count: usize) -> Option<Vec<usize>> {
        let start = usize::try_from(self.long(offset)?).ok()?;
        let (size, count) = (usize::from(self.half(size)?), usize::from(self.half(count)?));
        (0..count).map(|number| start.checked_add(number * size)).collect()
    }

    /// Where the byte at `address` stands in the file.
    fn offset_of(&self, address: u64) -> Option<usize> {
        self.loads.iter().find_map(|(start, offset, length)| {
            let inside = address.checked_sub(*start).filter(|inside| inside < length)?;
            usize::try_from(offset.checked_add(inside)?).ok()
        })
    }

    /// Where the bindings of defined unique symbols stand in the file.
    fn unique_symbols(&self) -> Vec<usize> {
        let start = self.symbols.and_then(|address| self.offset_of(address));
        let (Some(start), Some(count)) = (start, self.symbol_count()) else { return Vec::new() };
        let symbol = |number: usize| {
            let at = start.checked_add(number.checked_mul(SYMBOL)?)?;
            Some((at + 4, *self.bytes.get(at + 4)?, self.half(at + 6)?))
        };
        let symbols = (0..count).map_while(symbol);
        let unique = symbols.filter(|(_, info, section)| {
            info >> 4 == format::STB_GNU_UNIQUE.0 && *section != format::SHN_UNDEF.0
        });
        unique.map(|(at, ..)| at).collect()
    }

    /// How many dynamic symbols there are. The loader needs no number, so only the section table and
    /// the tables of hashes have it; what follows the symbols need not be their names.
    fn symbol_count(&self) -> Option<usize> {
        self.count_by_section().or_else(|| self.count_by_gnu_hash()).or_else(|| {
            let at = self.offset_of(self.hash?)?;
            usize::try_from(self.word(at + 4)?).ok()
        })
    }

    fn count_by_section(&self) -> Option<usize> {
        let is_it = |header: &usize| {
            self.word(header + 4) == Some(format::SHT_DYNSYM.0)
                && self.long(header + 16).is_some_and(|address| Some(address) == self.symbols)
        };
        let header = self.table(40, 58, 60)?.into_iter().find(is_it)?;
        Some(usize::try_from(self.long(header + 32)?).ok()? / SYMBOL)
    }

    /// The last symbol of the last chain. Its table has all defined ones.
    fn count_by_gnu_hash(&self) -> Option<usize> {
        let at = self.offset_of(self.gnu_hash?)?;
        let [buckets, first, bloom] = [0, 4, 8].map(|field| self.word(at + field));
        let [buckets, first, bloom] = [buckets?, first?, bloom?].map(usize::try_from);
        let (buckets, first, bloom) = (buckets.ok()?, first.ok()?, bloom.ok()?);
        let table = at.checked_add(16)?.checked_add(bloom.checked_mul(8)?)?;
        let chains = table.checked_add(buckets.checked_mul(4)?)?;
        let bucket = |number: usize| self.word(table + number * 4);
        let last = (0..buckets).map_while(bucket).max().unwrap_or_default();
        let mut last = usize::try_from(last).ok()?;
        if last < first {
            return Some(first);
        }
        // Ends with the file, if not before.
        while self.word(chains.checked_add((last - first).checked_mul(4)?)?)? & 1 == 0 {
            last += 1;
        }
        Some(last + 1)
    }
}

#[cfg(test)]
mod tests;
