//! The root module: the one symbol a host looks up, versioned by abi_stable.
//!
//! Owns everything that touches abi_stable's library machinery. Its safe loaders are never used:
//! they memoise one root per type and leak the library. The checked initialisation fills
//! process-lifetime maps with pointers into the plugin, so it belongs into a preflight child only.
//!
//! # Versions
//! Only [`ABI_MAJOR`](super::ABI_MAJOR) and the feature bits decide whether a library fits. For
//! abi_stable two numbers stand still, whatever version this crate has: the root's
//! [`VERSION_STRINGS`](RootModule::VERSION_STRINGS), and the version of the package in every type's
//! layout, which `build.rs` sets. Both are part of the interface's name.
#![expect(unsafe_code, reason = "reads the root module through a raw symbol")]

use abi_stable::{
    StableAbi,
    library::{__call_root_module_loader, AbiHeaderRef, LibraryError},
    library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    prefix_type::WithMetadata,
    sabi_types::VersionStrings,
};

use super::{
    Answer, CallFn, Created, Done, Frame, Future, Growing, InstanceVt, Job, NewArgs, NewFn,
};
use super::{RequestHead, StateBlob, Str};

/// The symbol under which abi_stable keeps a root module, with its NUL.
pub const ROOT_SYMBOL: &[u8] = abi_stable::library::ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes();

// abi_stable's derive asks for these two, and nothing but `build.rs` answers with a constant.
const _: () = assert!(
    matches!(env!("CARGO_PKG_NAME").as_bytes(), b"hotseat-plugin-api")
        && matches!(env!("CARGO_PKG_VERSION").as_bytes(), b"0.1.0"),
    "the interface has another name: libraries built now and hosts of other releases do not fit; \
     let the build set CARGO_PKG_VERSION for this crate as its build.rs does"
);

/// What a plugin exports: a static, built at compile time, never on the heap.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef, prefix_fields = RootPrefix)))]
#[sabi(missing_field(panic))]
#[derive(Debug)]
pub struct Root {
    /// [`ABI_MAJOR`](super::ABI_MAJOR) of the plugin's build.
    pub abi_major: u16,
    /// [`ABI_MINOR`](super::ABI_MINOR) of the plugin's build.
    pub abi_minor: u16,
    /// Zero.
    pub reserved: u32,
    /// Feature bits the host must know.
    pub requires: u64,
    /// The text of [`crate::manifest`], also found in the file under its own symbol.
    pub manifest: Str,
    /// Makes an instance.
    pub new: unsafe extern "C" fn(args: Growing<NewArgs>, out: *mut Created) -> u32,
    /// Makes the future of one request.
    pub call:
        unsafe extern "C" fn(instance: *const (), head: Growing<RequestHead>) -> Future<Answer>,
    /// Everything else an instance can do.
    pub instance: Growing<InstanceVt>,
    /// Never called: makes abi_stable compare the fixed types that only growing structs mention.
    #[sabi(last_prefix_field)]
    pub shapes: extern "C" fn(*mut Frame, *mut StateBlob, *mut Job, *mut Done),
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "hotseat_plugin";
    const NAME: &'static str = "hotseat_plugin";
    // The ABI's version, not the package's: our own major, minor and feature bits decide.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

extern "C" fn shapes(_: *mut Frame, _: *mut StateBlob, _: *mut Job, _: *mut Done) {}

impl Root {
    /// A root of this build's ABI, for the export macro.
    #[must_use]
    pub const fn new(
        manifest: Str,
        new: NewFn,
        call: CallFn,
        instance: &'static InstanceVt,
    ) -> Self {
        Self {
            abi_major: super::ABI_MAJOR,
            abi_minor: super::ABI_MINOR,
            reserved: 0,
            requires: super::FEATURE_BASE,
            manifest,
            new,
            call,
            instance: Growing { ptr: instance },
            shapes,
        }
    }
}

/// Implemented by the export macro on a type of the plugin, to name its static root.
///
/// A trait instead of a function pointer, because abi_stable's loader takes a plain function.
pub trait StaticRoot: 'static {
    /// The root with abi_stable's metadata, a compile-time constant.
    const ROOT: &'static RootWithMetadata;
}

/// [`Root`] as abi_stable stores it.
#[repr(transparent)]
#[allow(missing_debug_implementations)]
pub struct RootWithMetadata(WithMetadata<Root>);

impl RootWithMetadata {
    /// Wraps a root; usable in a constant.
    #[must_use]
    pub const fn new(root: Root) -> Self {
        Self(WithMetadata::new(root))
    }
}

/// What the export macro places under [`ROOT_SYMBOL`].
#[repr(transparent)]
#[allow(missing_debug_implementations)]
pub struct Export(LibHeader);

impl Export {
    /// The header of the plugin whose root is `T`'s.
    #[must_use]
    pub const fn new<T: StaticRoot>() -> Self {
        // SAFETY: `constructor::<T>` returns a `RootRef`, the module type named here.
        Self(unsafe {
            LibHeader::from_constructor::<RootRef>(constructor::<T>, CheckTypeLayout::Yes)
        })
    }
}

extern "C" fn constructor<T: StaticRoot>() -> RootModuleResult {
    fn root<T: StaticRoot>() -> RootRef {
        RootRef(T::ROOT.0.static_as_prefix())
    }
    __call_root_module_loader(root::<T>)
}

/// A root module read from a library, copied by value: the host keeps no pointer but the entries.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// See [`Root::abi_major`].
    pub abi_major: u16,
    /// See [`Root::abi_minor`].
    pub abi_minor: u16,
    /// See [`Root::requires`].
    pub requires: u64,
    /// See [`Root::new`].
    pub new: NewFn,
    /// See [`Root::call`].
    pub call: CallFn,
    /// See [`Root::instance`].
    pub instance: Growing<InstanceVt>,
}

/// Why a library's root module was not accepted. Owned text: nothing points into the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootError {
    /// abi_stable's own header does not match.
    Header(String),
    /// The layouts of types differ although the version claims they are the same.
    Layout(String),
}

impl std::fmt::Display for RootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(text) => write!(f, "root module header: {text}"),
            Self::Layout(text) => write!(f, "type layouts differ: {text}"),
        }
    }
}

impl std::error::Error for RootError {}

/// abi_stable prints every type on the way to a difference, tens of kilobytes; the first difference
/// is what a person can use.
fn first_difference(report: &str) -> String {
    let first = report.find("Error:").map_or(report, |at| &report[at + "Error:".len()..]);
    let first = first.split("error(s)").next().unwrap_or(first);
    let words: Vec<_> = first.split_whitespace().take(32).collect();
    words.join(" ").trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().to_owned()
}

/// Reads the root module behind `symbol`.
///
/// `check_layout` compares every fixed type's layout; it stores pointers into the library for the
/// life of the process, so only a process that ends soon may ask for it.
///
/// # Errors
/// [`RootError`], as owned text.
///
/// # Safety
/// `symbol` must be the address of [`ROOT_SYMBOL`] in a library that stays loaded for as long as
/// the entries are used, and that library must have been built by the export macro (which its
/// manifest, checked before, claims).
pub unsafe fn read(symbol: *const (), check_layout: bool) -> Result<Entries, RootError> {
    // SAFETY: the symbol's address is the header; `AbiHeaderRef` is a transparent reference.
    let header: AbiHeaderRef = unsafe { std::mem::transmute(symbol) };
    let header = header.upgrade().map_err(|e| RootError::Header(e.to_string()))?;
    let root = if check_layout {
        header.init_root_module::<RootRef>()
    } else {
        // SAFETY: the same bytes passed the layout check in a preflight child.
        unsafe { header.init_root_module_with_unchecked_layout::<RootRef>() }
    };
    let root = root.map_err(|error| match error {
        LibraryError::AbiInstability(text) => {
            RootError::Layout(first_difference(&text.to_string()))
        }
        other => RootError::Header(other.to_string()),
    })?;
    Ok(Entries {
        abi_major: root.abi_major(),
        abi_minor: root.abi_minor(),
        requires: root.requires(),
        new: root.new(),
        call: root.call(),
        instance: root.instance(),
    })
}

#[cfg(test)]
mod tests {
    use abi_stable::{StableAbi as _, library::RootModule as _};

    use super::{Answer, RootRef, first_difference};

    /// Hosts of every release compare these with their own, 0.1.0 among them.
    #[test]
    fn no_release_is_a_version_of_the_interface() {
        let (package, version) = Answer::LAYOUT.package_and_version();
        assert_eq!((package.as_str(), version.version.as_str()), ("hotseat-plugin-api", "0.1.0"));
        assert_eq!(RootRef::VERSION_STRINGS.version.as_str(), "1.0.0");
    }

    #[test]
    fn a_report_is_told_by_its_first_difference() {
        let report = "Compared <this>:\n type:Root\n0 error(s)inside:\n type:Io\n\n\
                      Error:mismatched type\nExpected:\n    OpaqueField\nFound:\n    *const IoVt \n\
                      2 error(s)inside:\n type:Root\n";
        let told = "mismatched type Expected: OpaqueField Found: *const IoVt";
        assert_eq!(first_difference(report), told);
        assert_eq!(first_difference("something else"), "something else");
    }
}
