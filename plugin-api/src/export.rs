//! The macro that turns a [`Handler`](crate::Handler) into a library's entry.
//!
//! Owns what the macro expands to and what it needs to reach. Authors use the macro only.
//! Invariant: everything exported is a constant or a static without heap or destructor.

pub use crate::abi::{
    Str,
    root::{Export, Root, RootWithMetadata, StaticRoot},
};
pub use crate::shim::{Table, call, new};

/// Exports `Type`, a [`Handler`](crate::Handler), as this library's plugin.
///
/// `export_handler!(Type)` takes the plugin's name and version from the library's name
/// (`handler_v2` is version 2 of `handler`), else from the package.
/// `export_handler!(Type, name = "x", version = "2")` states them; each can be left out. In any
/// case the file's own name decides where it has a version (`libx_v2.so`).
///
/// Use it once, in a crate with `crate-type = ["cdylib"]` that unwinds on panic.
///
/// # Allocator
/// It also makes the library's `#[global_allocator]`: the host has a heap of its own for each
/// generation, knows how large it is, and takes all of it back at the unload, whatever is left in
/// statics, lazy tables and caches. A crate that has an allocator already is told "cannot define
/// multiple global allocators" by the compiler; `export_handler!(Type, allocator = none)` keeps its
/// own, or the system's, and what is left of that is lost at each unload:
///
/// ```
/// # use hotseat_plugin_api::{export_handler, Context, Handler, Request, Response, Result};
/// #[global_allocator]
/// static ALLOCATOR: std::alloc::System = std::alloc::System;
/// # struct Hello;
/// # impl Handler for Hello {
/// #     fn new(_: &Context) -> Result<Self> { Ok(Hello) }
/// #     async fn call(&self, _: Request<'_>) -> Result<Response> { Ok(Response::text("")) }
/// # }
///
/// export_handler!(Hello, name = "hello", allocator = none);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_handler {
    (
        $handler:ty $(, name = $name:literal)? $(, version = $version:literal)?,
        allocator = none $(,)?
    ) => {
        $crate::__export_entry!($handler, ::core::concat!($($name)?), ::core::concat!($($version)?));
    };
    ($handler:ty $(, name = $name:literal)? $(, version = $version:literal)? $(,)?) => {
        $crate::__export_entry!($handler, ::core::concat!($($name)?), ::core::concat!($($version)?));

        const _: () = {
            // With another allocator in this crate: `export_handler!(.., allocator = none)`.
            #[global_allocator]
            static HEAP: $crate::heap::Arena = $crate::heap::Arena;
        };
    };
}

/// The entry alone.
#[macro_export]
#[doc(hidden)]
macro_rules! __export_entry {
    ($handler:ty, $name:expr, $version:expr) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a hotseat plugin needs `panic = \"unwind\"`: a panic is answered with 500, not with \
             the end of the host"
        );

        #[allow(unsafe_code, reason = "a library's entry is a symbol without mangling")]
        const _: () = {
            use $crate::{export, manifest};

            const PARTS: &[&str] = &[
                manifest::HEAD,
                "abi=",
                manifest::ABI,
                "\nrequires=",
                manifest::REQUIRES,
                "\ncrate=",
                manifest::known(::core::option_env!("CARGO_CRATE_NAME")),
                "\npackage=",
                manifest::known(::core::option_env!("CARGO_PKG_NAME")),
                "\nversion=",
                manifest::known(::core::option_env!("CARGO_PKG_VERSION")),
                "\nname=",
                manifest::checked_name($name),
                "\nlabel=",
                manifest::checked_version($version),
                "\nrustc=",
                manifest::RUSTC,
                "\napi=",
                manifest::API,
                "\npanic=unwind\n\0",
            ];

            #[unsafe(export_name = "hotseat_manifest")]
            #[unsafe(link_section = ".hotseat")]
            #[used]
            static MANIFEST: [u8; manifest::length(PARTS)] = manifest::join(PARTS);

            struct Entry;

            impl export::StaticRoot for Entry {
                const ROOT: &'static export::RootWithMetadata =
                    &export::RootWithMetadata::new(export::Root::new(
                        export::Str::new(&MANIFEST),
                        export::new::<$handler>,
                        export::call::<$handler>,
                        export::Table::<$handler>::TABLE,
                    ));
            }

            // The name is `abi::root::ROOT_SYMBOL`; a test compares them.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            #[used]
            static ROOT: export::Export = export::Export::new::<Entry>();
        };
    };
}
