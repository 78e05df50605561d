//! The tables of an ELF file, each range checked against the file's end.
//!
//! Owns the arithmetic over offsets that the file claims. Knows nothing of plugins.
//! Invariant: a range that does not lie inside the file is "truncated", never read.

use object::{
    LittleEndian,
    elf::{self as format, FileHeader64, ProgramHeader64, SectionHeader64, Sym64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _},
};

use super::ElfError;

const END: LittleEndian = LittleEndian;

/// The header's two tables.
pub(super) struct Tables<'file> {
    bytes: &'file [u8],
    segments: &'file [ProgramHeader64<LittleEndian>],
    sections: &'file [SectionHeader64<LittleEndian>],
}

/// What the dynamic table says.
#[derive(Default)]
pub(super) struct Dynamic {
    pub(super) nodelete: bool,
    pub(super) position_independent_executable: bool,
    pub(super) text_relocations: bool,
    pub(super) static_tls: bool,
    pub(super) needed: Vec<String>,
    /// Where it wants them to be looked for: `DT_RUNPATH`, else `DT_RPATH`.
    pub(super) search: Vec<String>,
    /// By `DT_RUNPATH`: behind what the environment says.
    pub(super) runpath: bool,
}

/// A symbol that was asked for.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) defined: bool,
    pub(super) address: u64,
}

/// What the dynamic symbol table says.
pub(super) struct Symbols<const N: usize> {
    pub(super) found: [Option<Found>; N],
    pub(super) unique: bool,
}

impl<'file> Tables<'file> {
    /// Reads both tables and checks that every range they name lies inside the file.
    pub(super) fn read(bytes: &'file [u8]) -> Result<Self, ElfError> {
        let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(malformed)?;
        let tables = [
            (header.e_phoff(END), u64::from(header.e_phentsize(END)), header.e_phnum(END)),
            (header.e_shoff(END), u64::from(header.e_shentsize(END)), header.e_shnum(END)),
        ];
        for (offset, size, count) in tables {
            inside(bytes, offset, size * u64::from(count))?;
        }
        let segments = header.program_headers(END, bytes).map_err(malformed)?;
        let sections = header.section_headers(END, bytes).map_err(malformed)?;
        for segment in segments {
            inside(bytes, segment.p_offset(END), segment.p_filesz(END))?;
        }
        for section in sections {
            // Such a section has no bytes; `None` also covers the null entry's type.
            if let Some((offset, size)) = section.file_range(END)
                && section.sh_type(END) != format::SHT_NULL
            {
                inside(bytes, offset, size)?;
            }
        }
        Ok(Self { bytes, segments, sections })
    }

    /// A program that the kernel would start; libraries name no interpreter.
    pub(super) fn has_interpreter(&self) -> bool {
        self.segments.iter().any(|segment| segment.p_type(END) == format::PT_INTERP)
    }

    /// Reads the dynamic table as the loader finds it, by segment.
    pub(super) fn dynamic(&self) -> Result<Dynamic, ElfError> {
        let mut result = Dynamic::default();
        let mut table = None;
        for segment in self.segments {
            if let Some(found) = segment.dynamic(END, self.bytes).map_err(malformed)? {
                table = Some(found);
            }
        }
        let table = table.ok_or(ElfError::Malformed { what: "no dynamic table" })?;
        let names = self.dynamic_strings().unwrap_or_default();
        let list = |at| -> Vec<String> {
            let text = text_at(names, at).unwrap_or_default();
            text.split(':').filter(|it| !it.is_empty()).map(str::to_owned).collect()
        };
        for entry in table {
            let value = entry.d_val(END);
            match entry.d_tag(END) {
                format::DT_NULL => break,
                format::DT_TEXTREL => result.text_relocations = true,
                format::DT_FLAGS => {
                    result.text_relocations |= value & format::DF_TEXTREL.0 != 0;
                    result.static_tls |= value & format::DF_STATIC_TLS.0 != 0;
                }
                format::DT_FLAGS_1 => {
                    result.nodelete |= value & format::DF_1_NODELETE.0 != 0;
                    result.position_independent_executable |= value & format::DF_1_PIE.0 != 0;
                }
                format::DT_RUNPATH => {
                    result.runpath = true;
                    result.search = list(value);
                }
                format::DT_RPATH if !result.runpath => result.search = list(value),
                format::DT_NEEDED if result.needed.len() < NEEDED_COUNT_MAX => {
                    result.needed.extend(text_at(names, value));
                }
                _ => {}
            }
        }
        Ok(result)
    }

    /// It wants stacks whose content can be run: what says nothing of stacks does, too. Source: glibc,
    /// `DEFAULT_STACK_PERMS` of x86-64 and aarch64.
    pub(super) fn executable_stack(&self) -> bool {
        let stack = self.segments.iter().find(|it| it.p_type(END) == format::PT_GNU_STACK);
        stack.is_none_or(|it| it.p_flags(END).0 & format::PF_X.0 != 0)
    }

    /// What its linker has made of its content.
    pub(super) fn build_id(&self) -> Option<&'file [u8]> {
        self.segments.iter().find_map(|segment| {
            let mut notes = segment.notes(END, self.bytes).ok()??;
            while let Ok(Some(note)) = notes.next() {
                if note.name() == format::ELF_NOTE_GNU
                    && note.n_type(END) == format::NT_GNU_BUILD_ID
                {
                    return Some(note.desc()).filter(|it| !it.is_empty());
                }
            }
            None
        })
    }

    /// What each thread has of the library's thread-locals, rounded up to whole steps of their
    /// alignment. Units: bytes.
    pub(super) fn tls_bytes(&self) -> u64 {
        let template = self.segments.iter().find(|it| it.p_type(END) == format::PT_TLS);
        template.map_or(0, |it| {
            let (size, align) = (it.p_memsz(END), it.p_align(END).max(1));
            size.checked_next_multiple_of(align).unwrap_or(u64::MAX)
        })
    }

    /// Looks for `wanted` (each with its NUL) among the dynamic symbols.
    pub(super) fn symbols<const N: usize>(
        &self,
        wanted: &[&[u8]; N],
    ) -> Result<Symbols<N>, ElfError> {
        let mut result = Symbols { found: [None; N], unique: false };
        let Some(section) = self.dynamic_symbols() else { return Ok(result) };
        let symbols: &[Sym64<LittleEndian>] =
            section.data_as_array(END, self.bytes).map_err(malformed)?;
        let names = self.dynamic_strings().unwrap_or_default();
        for symbol in symbols {
            let defined = !symbol.is_undefined(END);
            result.unique |= defined && symbol.st_bind() == format::STB_GNU_UNIQUE;
            // Compared in place: a name without an end costs no more than a short one.
            let name = usize::try_from(symbol.st_name(END)).ok().and_then(|at| names.get(at..));
            let name = name.unwrap_or_default();
            for (slot, wanted) in result.found.iter_mut().zip(wanted) {
                if name.starts_with(wanted) {
                    *slot = Some(Found { defined, address: symbol.st_value(END) });
                }
            }
        }
        Ok(result)
    }

    /// The file's bytes behind a virtual address, to the end of its segment.
    pub(super) fn mapped(&self, address: u64) -> Option<&'file [u8]> {
        self.segments.iter().filter(|segment| segment.p_type(END) == format::PT_LOAD).find_map(
            |segment| {
                let data = segment.data(END, self.bytes).ok()?;
                let at = address.checked_sub(segment.p_vaddr(END))?;
                data.get(usize::try_from(at).ok()?..).filter(|rest| !rest.is_empty())
            },
        )
    }

    fn dynamic_symbols(&self) -> Option<&'file SectionHeader64<LittleEndian>> {
        self.sections.iter().find(|section| section.sh_type(END) == format::SHT_DYNSYM)
    }

    fn dynamic_strings(&self) -> Option<&'file [u8]> {
        let link = usize::try_from(self.dynamic_symbols()?.sh_link(END)).ok()?;
        self.sections.get(link)?.data(END, self.bytes).ok()
    }
}

/// A library with more wants than this is no library.
const NEEDED_COUNT_MAX: usize = 1024;
/// Units: bytes of a wanted library's name.
const NEEDED_BYTES_MAX: usize = 4096;

fn text_at(names: &[u8], at: u64) -> Option<String> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    let rest = &rest[..rest.len().min(NEEDED_BYTES_MAX)];
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn inside(bytes: &[u8], offset: u64, size: u64) -> Result<(), ElfError> {
    let wanted = offset.saturating_add(size);
    let size = bytes.len() as u64;
    if wanted > size { Err(ElfError::Truncated { wanted, size }) } else { Ok(()) }
}

fn malformed(error: impl Into<object::read::Error>) -> ElfError {
    // The crate's own text is only reachable by formatting; it names what is wrong well enough.
    ElfError::Unreadable(error.into().to_string())
}
