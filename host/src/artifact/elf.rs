//! Reads an ELF file's facts without loading it.
//!
//! Owns what makes a library acceptable before any of its code runs. Knows nothing of paths. Entry
//! point: [`verify`].
//! Invariant: no input makes it panic or read outside `bytes`; every offset in the file is taken
//! as a claim. What a hostile file can hide from it, the preflight child meets.

pub mod marks;
pub mod places;
pub mod program;
pub mod refusal;
mod tables;

use hotseat_plugin_api::abi::{self, root::ROOT_SYMBOL};
use object::elf as format;

pub use self::refusal::ElfError;
use self::tables::Tables;
use super::manifest::{self, PluginManifest};

/// What a library says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The plugin's own manifest.
    pub manifest: PluginManifest,
    /// `DF_1_NODELETE`: the loader will never unmap it.
    pub nodelete: bool,
    /// It defines `STB_GNU_UNIQUE` symbols: the loader will never unmap it.
    pub unique_symbols: bool,
    /// `DF_STATIC_TLS`: the loader has to find room for that much of it at a fixed place of every
    /// thread, and never gets it back. Units: bytes.
    pub static_tls: Option<u64>,
    /// The libraries it wants, in order.
    pub needed: Vec<String>,
}

/// The machine this host was built for.
#[cfg(target_arch = "x86_64")]
const HOST_MACHINE: format::Machine = format::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const HOST_MACHINE: format::Machine = format::EM_AARCH64;

/// Checks that `bytes` are a plugin library for this host.
///
/// # Errors
/// Every [`ElfError`]; the first that applies, in the order of that enum.
pub fn verify(bytes: &[u8]) -> Result<Facts, ElfError> {
    check_header(bytes)?;
    let tables = Tables::read(bytes)?;
    let dynamic = tables.dynamic()?;
    if dynamic.position_independent_executable || tables.has_interpreter() {
        return Err(ElfError::NotALibrary { what: "an executable" });
    }
    if dynamic.text_relocations {
        return Err(ElfError::TextRelocations);
    }
    let symbols = tables.symbols(&[ROOT_SYMBOL, manifest::SYMBOL, UNWIND_SYMBOL])?;
    let [root, text, unwind] = symbols.found;
    if !root.is_some_and(|symbol| symbol.defined) {
        return Err(ElfError::NotAPlugin);
    }
    let text = text.filter(|symbol| symbol.defined).ok_or(ElfError::ManifestMissing)?;
    let text = tables.mapped(text.address).ok_or(ElfError::ManifestMissing)?;
    let text = &text[..text.len().min(MANIFEST_BYTES_MAX)];
    let manifest = PluginManifest::parse(text).map_err(ElfError::ManifestUnreadable)?;
    check_promises(&manifest)?;
    if manifest.panic != "unwind" || unwind.is_none_or(|symbol| symbol.defined) {
        return Err(ElfError::PanicAbort);
    }
    Ok(Facts {
        manifest,
        nodelete: dynamic.nodelete,
        unique_symbols: symbols.unique,
        static_tls: dynamic.static_tls.then(|| tables.tls_bytes()),
        needed: dynamic.needed,
    })
}

/// [`Facts::static_tls`] of bytes that were verified before. `None` of any others.
#[must_use]
pub fn static_tls(bytes: &[u8]) -> Option<u64> {
    let tables = Tables::read(bytes).ok()?;
    tables.dynamic().ok()?.static_tls.then(|| tables.tls_bytes())
}

/// What there is to say of a library that wants stacks whose content can be run.
#[must_use]
pub fn executable_stack(bytes: &[u8]) -> Option<&'static str> {
    Tables::read(bytes).is_ok_and(|tables| tables.executable_stack()).then_some(
        "it asks for executable stacks: from its first load on every thread of the worker has one, for as \
         long as that lives; link it with `-Wl,-z,noexecstack` (an object of an assembler without the \
         section `.note.GNU-stack` asks for them)",
    )
}

/// What every build with `panic = "unwind"` imports from the unwinder.
const UNWIND_SYMBOL: &[u8] = b"_Unwind_RaiseException\0";

/// Units: bytes. The export macro's text has some 300.
const MANIFEST_BYTES_MAX: usize = 64 << 10;

fn check_promises(manifest: &PluginManifest) -> Result<(), ElfError> {
    if manifest.abi.0 != abi::ABI_MAJOR {
        let api = manifest.api.clone();
        return Err(ElfError::AbiMismatch { found: manifest.abi, api });
    }
    let unknown = manifest.requires & !abi::KNOWN_FEATURES;
    if unknown != 0 {
        return Err(ElfError::FeatureUnknown { unknown, found: manifest.abi });
    }
    Ok(())
}

/// Units: bytes of an ELF header, 32 and 64 bit.
const HEADER_BYTES: usize = size_of::<format::FileHeader64<object::LittleEndian>>();

fn check_header(bytes: &[u8]) -> Result<(), ElfError> {
    if !bytes.starts_with(&format::ELFMAG) {
        return Err(ElfError::NotElf { looks: looks_like(bytes) });
    }
    let truncated =
        || ElfError::Truncated { wanted: HEADER_BYTES as u64, size: bytes.len() as u64 };
    let header = bytes.get(..HEADER_BYTES).ok_or_else(truncated)?;
    let little = header[5] != format::ELFDATA2MSB.0;
    let half = |at: usize| {
        let pair = [header[at], header[at + 1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    };
    let machine = format::Machine(half(18));
    if header[4] == format::ELFCLASS32.0 {
        return Err(ElfError::WrongClass { machine: machine_name(machine) });
    }
    if machine != HOST_MACHINE || !little {
        return Err(ElfError::WrongMachine { machine: machine_name(machine) });
    }
    let what = match format::FileType(half(16)) {
        format::ET_DYN => return Ok(()),
        format::ET_REL => "an object file",
        format::ET_EXEC => "an executable",
        format::ET_CORE => "a core dump",
        _ => "an ELF file of an unknown type",
    };
    Err(ElfError::NotALibrary { what })
}

fn looks_like(bytes: &[u8]) -> refusal::Looks {
    use refusal::Looks;

    let start = &bytes[..bytes.len().min(512)];
    let text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    if start.starts_with(b"!<arch>\n") || start.starts_with(b"!<thin>\n") {
        Looks::Archive
    } else if start.starts_with(b"#!") {
        Looks::Script
    } else if start.starts_with(b"MZ") {
        Looks::Windows
    } else if [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]]
        .iter()
        .any(|m| start.starts_with(m))
    {
        Looks::MacOs
    } else if str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true)
        && start.iter().all(text)
    {
        Looks::Text
    } else {
        Looks::Data
    }
}

/// The name by which people know a machine.
fn machine_name(machine: format::Machine) -> String {
    match machine {
        format::EM_X86_64 => "x86_64".to_owned(),
        format::EM_AARCH64 => "aarch64".to_owned(),
        format::EM_386 => "i386".to_owned(),
        format::EM_ARM => "arm".to_owned(),
        format::EM_RISCV => "riscv".to_owned(),
        format::EM_PPC64 => "powerpc64".to_owned(),
        format::EM_S390 => "s390x".to_owned(),
        format::EM_LOONGARCH => "loongarch".to_owned(),
        format::Machine(number) => format!("machine {number}"),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
