//! The macro that turns a [`Handler`](crate::Handler) into a library's entry.
//!
//! Owns what the macro expands to and what it needs to reach. Authors use the macro only.
//! Invariant: everything exported is a constant or a static without heap or destructor.

pub use crate::abi::{
    Str,
    root::{Export, Root, RootWithMetadata, StaticRoot},
};
pub use crate::error::{Converted, Flattened, Reason};
pub use crate::shim::{Table, call, new};
pub use http::Extensions;

use crate::{Handler, shim};

/// What the README shows is compiled with the examples of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Where a handler runs; see `runtime`.
pub trait Place: Send + Sync + 'static {
    /// `H`, there.
    type Of<H: Handler>: Handler;
}

/// On the host's threads, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct NoRuntime;

impl Place for NoRuntime {
    type Of<H: Handler> = H;
}

/// The root of a library whose plugin is `H`, at its place.
#[must_use]
pub const fn handler_root<H: Handler, P: Place>(manifest: Str, _: &P) -> Root {
    root_of::<P::Of<H>>(manifest)
}

/// The root of a library whose plugin is `H`.
#[must_use]
pub const fn root_of<H: Handler>(manifest: Str) -> Root {
    Root::new(manifest, shim::new::<H>, shim::call::<H>, shim::Table::<H>::TABLE)
}

/// Exports `Type`, a [`Handler`](crate::Handler), as this library's plugin.
///
/// `export_handler!(Type)` takes the plugin's name and version from the library's name
/// (`handler_v2` is version 2 of `handler`), else from the package.
/// `export_handler!(Type, name = "x", version = "2")` states them; each can be left out. In any
/// case the file's own name decides where it has a version (`libx_v2.so`).
///
/// Use it once, in a crate with `crate-type = ["cdylib"]` that unwinds on panic. A second export is told
/// "cannot define multiple global allocators" by the compiler, since each makes one.
///
/// # Allocator
/// It also makes the library's `#[global_allocator]`: the host has a heap of its own for each
/// generation, knows how large it is, and takes all of it back at the unload, whatever is left in
/// statics, lazy tables and caches. A crate that has an allocator already is told "cannot define
/// multiple global allocators" by the compiler, as one with two exports is;
/// `export_handler!(Type, allocator = none)` keeps its own, or the system's, and what is left of that is
/// lost at each unload:
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
///
/// # Unsafe code
/// An entry is a symbol without mangling, which is unsafe code to the compiler, and the macro allows
/// itself that. A crate that forbids it (`#![forbid(unsafe_code)]`, or `unsafe_code = "forbid"` among its
/// lints) is told "allow(unsafe_code) incompatible with previous forbid". Nothing can be allowed behind
/// a `forbid`: say `deny`, which holds all of the crate but the entry; or leave the crate as it is, make
/// a library of it, and export from a small one that depends on it.
///
/// # Runtime
/// `runtime = "tokio"` (feature `runtime`) has all of the handler's code run within a tokio runtime of
/// the plugin's own, made before `new` and ended after the handler is dropped. `runtime = OPTIONS` is
/// the same with its `RuntimeOptions`: a constant, one in braces where it has a path (`{ limits::RT }`).
#[macro_export]
macro_rules! export_handler {
    ($handler:ty $(, $key:ident = $value:tt)* $(,)?) => {
        $crate::__export! {
            { handler $handler } name() version() allocator(arena) runtime(none);
            $($key = $value,)*
        }
    };
}

/// Exports what a function makes, any [`tower::Service`](tower_service::Service), as this library's
/// plugin: `fn app(context: &Context) -> Result<S, E>`, where `E` is anything that `?` takes
/// ([`Error`](crate::Error)), or `Box<dyn Error>`. `S` is `Clone + Send + Sync + 'static`, as an axum
/// `Router` is: the host's data threads share it. Of `tower`'s boxes that is `BoxCloneSyncService`;
/// `BoxCloneService` is not `Sync`. `tower::buffer::Buffer` makes such a service of any that is `Send`.
///
/// The service is made once for each generation, and cloned for each request, which is an
/// `http::Request<ServiceBody>` with a [`RequestInfo`](crate::RequestInfo) among its extensions. It
/// runs within a tokio runtime of the plugin's own, made before it and ended after it.
///
/// `name`, `version` and `allocator` are those of [`export_handler!`], and what it says of `forbid` holds
/// here, too. `runtime = none` does without
/// a runtime; `runtime = OPTIONS` gives its [`RuntimeOptions`](crate::RuntimeOptions), a constant.
/// `prepare = |extensions, info| { .. }`, right behind the function, adds to the extensions of each
/// request what a framework's extractors look for.
#[cfg(feature = "service")]
#[macro_export]
macro_rules! export_service {
    ($make:expr, prepare = $prepare:expr $(, $key:ident = $value:tt)* $(,)?) => {
        $crate::__export! {
            { service $make, $prepare } name() version() allocator(arena) runtime(tokio);
            $($key = $value,)*
        }
    };
    ($make:expr $(, $key:ident = $value:tt)* $(,)?) => {
        $crate::export_service!(
            $make,
            prepare = $crate::service::prepare_nothing
            $(, $key = $value)*
        );
    };
}

/// Exports an axum application as this library's plugin:
/// `fn app(context: &Context) -> Result<axum::Router, E>`, where `E` is anything that `?` takes
/// ([`Error`](crate::Error)), or `Box<dyn Error>`.
///
/// As [`export_service!`], and axum's `ConnectInfo<SocketAddr>` and, under a mount, `OriginalUri` are
/// there. The crate needs axum itself, with its features `tokio` and `original-uri` (both are
/// defaults), of whatever version: this one does not depend on it.
#[cfg(feature = "axum")]
#[macro_export]
macro_rules! export_axum {
    ($make:expr $(, $key:ident = $value:tt)* $(,)?) => {
        $crate::export_service!(
            $make, prepare = $crate::__axum_prepare!() $(, $key = $value)*
        );
    };
}

/// Without the feature `service` it only says that it is missing.
#[cfg(not(feature = "service"))]
#[macro_export]
macro_rules! export_service {
    ($($any:tt)*) => {
        $crate::__needs_features!("export_service!", "\"service\"");
    };
}

/// Without the feature `axum` it only says that it is missing.
#[cfg(not(feature = "axum"))]
#[macro_export]
macro_rules! export_axum {
    ($($any:tt)*) => {
        $crate::__needs_features!("export_axum!", "\"axum\"");
    };
}

/// Without the features `axum` and `testing` it only says that they are missing.
#[cfg(not(all(feature = "axum", feature = "testing")))]
#[macro_export]
macro_rules! axum_host {
    ($($any:tt)*) => {
        $crate::__needs_features!("axum_host!", "\"axum\", \"testing\"")
    };
}

/// Refuses the use of what a crate has not asked for.
#[cfg(not(all(feature = "axum", feature = "testing")))]
#[macro_export]
#[doc(hidden)]
macro_rules! __needs_features {
    ($what:literal, $features:literal) => {
        ::core::compile_error!(::core::concat!(
            "`",
            $what,
            "` needs more of the SDK: in Cargo.toml, hotseat-plugin-api = { .., features = [",
            $features,
            "] }"
        ))
    };
}

/// What axum's extractors look for.
#[cfg(feature = "axum")]
#[macro_export]
#[doc(hidden)]
macro_rules! __axum_prepare {
    () => {
        |extensions: &mut $crate::export::Extensions, info: &$crate::RequestInfo| {
            if let ::core::option::Option::Some(peer) = info.peer() {
                extensions.insert(::axum::extract::ConnectInfo(peer));
            }
            if let ::core::option::Option::Some(uri) = info.original_uri() {
                extensions.insert(::axum::extract::OriginalUri(uri.clone()));
            }
        }
    };
}

/// A [host for tests](crate::testing::Host) of an axum application:
/// [`Host::service`](crate::testing::Host::service), with what axum's extractors look for, as by
/// [`export_axum!`].
#[cfg(all(feature = "axum", feature = "testing"))]
#[macro_export]
macro_rules! axum_host {
    ($make:expr) => {
        $crate::testing::Host::service_with($make, $crate::__axum_prepare!())
    };
}

/// Reads the options one by one, then makes entry and allocator.
#[macro_export]
#[doc(hidden)]
macro_rules! __export {
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); name = $name:literal, $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($name) version($($v)?) allocator($a) runtime($($r)*); $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); version = $version:literal, $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($($n)?) version($version) allocator($a) runtime($($r)*); $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); allocator = none, $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($($n)?) version($($v)?) allocator(none) runtime($($r)*); $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); runtime = none, $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($($n)?) version($($v)?) allocator($a) runtime(none); $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); runtime = "tokio", $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($($n)?) version($($v)?) allocator($a) runtime(tokio); $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); runtime = $other:literal, $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "there is no runtime `", $other, "`: runtime = \"tokio\", none or a constant of \
             `RuntimeOptions`"
        ));
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); runtime = $options:tt, $($rest:tt)*) => {
        $crate::__export! {
            { $($what)* } name($($n)?) version($($v)?) allocator($a) runtime(tokio $options);
            $($rest)*
        }
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*); $key:ident = $value:tt, $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "there is no option `", ::core::stringify!($key = $value), "`: name = \"..\", \
             version = \"..\", allocator = none, runtime = \"tokio\", none or a constant"
        ));
    };
    ({ $($what:tt)* } name($($n:literal)?) version($($v:literal)?) allocator($a:ident)
     runtime($($r:tt)*);) => {
        $crate::__export_allocator!($a);
        $crate::__export_entry! {
            { $($what)* } runtime($($r)*), ::core::concat!($($n)?), ::core::concat!($($v)?)
        }
    };
}

/// The allocator, unless the crate has one.
#[macro_export]
#[doc(hidden)]
macro_rules! __export_allocator {
    (none) => {};
    (arena) => {
        const _: () = {
            // With another allocator in this crate: `export_handler!(.., allocator = none)`.
            #[global_allocator]
            static HEAP: $crate::heap::Arena = $crate::heap::Arena;
        };
    };
}

/// Where the handler runs.
#[macro_export]
#[doc(hidden)]
macro_rules! __export_place {
    (none) => {
        $crate::export::NoRuntime
    };
    (tokio) => {
        $crate::__export_place!(tokio { $crate::RuntimeOptions::DEFAULT })
    };
    (tokio $options:tt) => {{
        struct __HotseatMade;
        impl $crate::runtime::Options for __HotseatMade {
            const OPTIONS: $crate::RuntimeOptions = $options;
        }
        $crate::runtime::OwnRuntime::<__HotseatMade>::PLACE
    }};
}

/// The entry's root, of a handler or of a service.
#[macro_export]
#[doc(hidden)]
macro_rules! __export_root {
    ($manifest:expr, { handler $handler:ty } runtime($($r:tt)*)) => {
        $crate::export::handler_root::<$handler, _>(
            $manifest, &$crate::__export_place!($($r)*)
        )
    };
    ($manifest:expr, { service $make:expr, $prepare:expr } runtime($($r:tt)*)) => {
        $crate::service::root($manifest, $make, $prepare, &$crate::__export_place!($($r)*))
    };
}

/// The entry alone.
#[macro_export]
#[doc(hidden)]
macro_rules! __export_entry {
    ({ $($what:tt)* } runtime($($r:tt)*), $name:expr, $version:expr) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a hotseat plugin needs `panic = \"unwind\"`: a panic is answered with 500, not with \
             the end of the host"
        );

        #[allow(unsafe_code, reason = "a library's entry is a symbol without mangling")]
        const _: () = {
            const __HOTSEAT_PARTS: &[&str] = &[
                $crate::manifest::HEAD,
                "abi=",
                $crate::manifest::ABI,
                "\nrequires=",
                $crate::manifest::REQUIRES,
                "\ncrate=",
                $crate::manifest::known(::core::option_env!("CARGO_CRATE_NAME")),
                "\npackage=",
                $crate::manifest::known(::core::option_env!("CARGO_PKG_NAME")),
                "\nversion=",
                $crate::manifest::known(::core::option_env!("CARGO_PKG_VERSION")),
                "\nname=",
                $crate::manifest::checked_name($name),
                "\nlabel=",
                $crate::manifest::checked_version($version),
                "\nrustc=",
                $crate::manifest::RUSTC,
                "\napi=",
                $crate::manifest::API,
                "\npanic=unwind\n\0",
            ];

            #[unsafe(export_name = "hotseat_manifest")]
            #[unsafe(link_section = ".hotseat")]
            #[used]
            static __HOTSEAT_MANIFEST: [u8; $crate::manifest::length(__HOTSEAT_PARTS)] = $crate::manifest::join(__HOTSEAT_PARTS);

            struct __HotseatEntry;

            impl $crate::export::StaticRoot for __HotseatEntry {
                const ROOT: &'static $crate::export::RootWithMetadata =
                    &$crate::export::RootWithMetadata::new($crate::__export_root!(
                        $crate::export::Str::new(&__HOTSEAT_MANIFEST),
                        { $($what)* } runtime($($r)*)
                    ));
            }

            // The name is `abi::root::ROOT_SYMBOL`; a test compares them.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            #[used]
            static __HOTSEAT_ROOT: $crate::export::Export = $crate::export::Export::new::<__HotseatEntry>();
        };
    };
}
