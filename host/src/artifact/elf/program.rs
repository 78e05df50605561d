//! What makes a file a program that this machine can start.
//!
//! Reads the header and the two tables that a kernel looks at, not the whole file: a host's binary
//! is large. Invariant: as in the room above it, every offset in the file is taken as a claim.

use object::{
    LittleEndian,
    elf::{self as format, Dyn64, FileHeader64, ProgramHeader64},
    pod,
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use super::{HEADER_BYTES, HOST_MACHINE, looks_like, machine_name, refusal::Looks};

const END: LittleEndian = LittleEndian;

/// Units: bytes of a dynamic table that are looked at; a program's has some 600.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;

/// The file is no program for this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProgram {
    /// Something else altogether.
    #[error("it is no ELF binary: it looks like {}", .looks.text())]
    NotElf {
        /// What it looks like.
        looks: Looks,
    },
    /// Another word size.
    #[error("it is built for 32 bit ({found}), this machine is {}", own_machine())]
    WrongClass {
        /// Its machine.
        found: String,
    },
    /// Another processor.
    #[error("it is built for {found}, this machine is {}", own_machine())]
    WrongMachine {
        /// Its machine.
        found: String,
    },
    /// ELF, but nothing that can be started.
    #[error("it is no program but {what}")]
    NotAProgram {
        /// `a library`.
        what: &'static str,
    },
    /// It ends before what its tables name. Units: bytes.
    #[error("it is truncated: it has {size} bytes, its tables name {wanted}")]
    Truncated {
        /// The least size its tables ask for.
        wanted: u64,
        /// The size it has.
        size: u64,
    },
}

/// The machine of this host, as people write it.
fn own_machine() -> String {
    people(HOST_MACHINE)
}

fn people(machine: format::Machine) -> String {
    machine_name(machine).replace('_', "-")
}

/// Checks that a file of `size` bytes, of which `read` gives those at an offset (fewer at the
/// file's end), is a program that this machine can start.
///
/// # Errors
/// [`NoProgram`], the first that applies; what `read` fails with.
pub fn check<E: From<NoProgram>>(
    size: u64,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    // More than the header, to tell what it is when it is none.
    let start = read(0, 512)?;
    if !start.starts_with(&format::ELFMAG) {
        return Err(NoProgram::NotElf { looks: looks_like(&start) }.into());
    }
    let truncated = |wanted| NoProgram::Truncated { wanted, size };
    let bytes = start.get(..HEADER_BYTES).ok_or_else(|| truncated(HEADER_BYTES as u64))?;
    let header = header(bytes)?;
    let inside = |offset: u64, bytes: u64| {
        let wanted = offset.saturating_add(bytes);
        if wanted > size { Err(truncated(wanted)) } else { Ok(()) }
    };
    let (at, count) = (header.e_phoff(END), usize::from(header.e_phnum(END)));
    let length = count * size_of::<ProgramHeader64<LittleEndian>>();
    inside(at, length as u64)?;
    // Nobody needs them to start it. They lie at the end: a copy under way lacks them.
    let sections = u64::from(header.e_shentsize(END)) * u64::from(header.e_shnum(END));
    inside(header.e_shoff(END), sections)?;
    let table = read(at, length)?;
    let (segments, _) = pod::slice_from_bytes::<ProgramHeader64<LittleEndian>>(&table, count)
        .map_err(|()| truncated(at.saturating_add(length as u64)))?;
    for segment in segments {
        inside(segment.p_offset(END), segment.p_filesz(END))?;
    }
    let has = |kind| segments.iter().find(|it| it.p_type(END) == kind);
    if has(format::PT_LOAD).is_none() {
        return Err(NoProgram::NotAProgram { what: "a file without code" }.into());
    }
    if header.e_type(END) == format::ET_EXEC || has(format::PT_INTERP).is_some() {
        return Ok(());
    }
    // A static program that can lie anywhere looks like a library, but for one flag.
    let dynamic = match has(format::PT_DYNAMIC) {
        Some(it) => {
            let length = it.p_filesz(END).min(DYNAMIC_BYTES_MAX);
            read(it.p_offset(END), usize::try_from(length).unwrap_or_default())?
        }
        None => Vec::new(),
    };
    let count = dynamic.len() / size_of::<Dyn64<LittleEndian>>();
    let (entries, _) = pod::slice_from_bytes::<Dyn64<LittleEndian>>(&dynamic, count)
        .map_err(|()| NoProgram::NotAProgram { what: "a library" })?;
    let independent = entries.iter().any(|entry| {
        entry.d_tag(END) == format::DT_FLAGS_1 && entry.d_val(END) & format::DF_1_PIE.0 != 0
    });
    if independent { Ok(()) } else { Err(NoProgram::NotAProgram { what: "a library" }.into()) }
}

fn header(bytes: &[u8]) -> Result<&FileHeader64<LittleEndian>, NoProgram> {
    let not = |what| NoProgram::NotAProgram { what };
    let big = bytes[5] == format::ELFDATA2MSB.0;
    let half = |at: usize| {
        let pair = [bytes[at], bytes[at + 1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let machine = format::Machine(half(18));
    if bytes[4] == format::ELFCLASS32.0 {
        return Err(NoProgram::WrongClass { found: people(machine) });
    }
    if big {
        return Err(NoProgram::WrongMachine { found: format!("{} big-endian", people(machine)) });
    }
    if machine != HOST_MACHINE {
        return Err(NoProgram::WrongMachine { found: people(machine) });
    }
    match format::FileType(half(16)) {
        format::ET_EXEC | format::ET_DYN => {}
        format::ET_REL => return Err(not("an object file")),
        format::ET_CORE => return Err(not("a core dump")),
        _ => return Err(not("an ELF file of an unknown type")),
    }
    if usize::from(half(54)) != size_of::<ProgramHeader64<LittleEndian>>() {
        return Err(not("an ELF file with tables of another kind"));
    }
    let (header, _) =
        pod::from_bytes(bytes).map_err(|()| not("an ELF file that cannot be read"))?;
    Ok(header)
}

#[cfg(test)]
mod tests;
