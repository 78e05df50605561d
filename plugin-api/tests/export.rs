//! The exported symbols, read as a host reads them.
//!
//! Owns a handler that is exported from this very executable. Knows nothing of dlopen.
//! Invariant: symbols are reached by their names only.
#![expect(unsafe_code, reason = "reads exported symbols")]

use std::ptr;

use hotseat_plugin_api::{
    Context, Handler, Request, Response, Result,
    abi::{self, root},
    export_handler, manifest,
};

#[derive(Debug)]
struct Hello;

impl Handler for Hello {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}

export_handler!(Hello, name = "hello", version = "3.1");

unsafe extern "C" {
    #[link_name = "_1as_0lib_1header_0root_bmodule_bloader"]
    static ROOT: u8;
    #[link_name = "hotseat_manifest"]
    static MANIFEST: u8;
}

fn root_symbol() -> *const () {
    // The address of an extern static needs no access.
    (&raw const ROOT).cast()
}

#[test]
fn symbols_have_the_names_that_hosts_look_for() {
    assert_eq!(root::ROOT_SYMBOL, b"_1as_0lib_1header_0root_bmodule_bloader\0");
    assert_eq!(manifest::SYMBOL, "hotseat_manifest");
}

#[test]
fn root_is_read_with_and_without_layout_check() {
    for check_layout in [true, false] {
        // SAFETY: the symbol is the macro's, in an executable that stays.
        let entries = unsafe { root::read(root_symbol(), check_layout) };
        let entries = entries.expect("the same build has the same layout");
        assert_eq!((entries.abi_major, entries.abi_minor), (abi::ABI_MAJOR, abi::ABI_MINOR));
        assert_eq!(entries.requires, abi::FEATURE_BASE);
    }
}

#[test]
fn entries_that_are_not_built_are_absent() {
    // SAFETY: as above.
    let entries = unsafe { root::read(root_symbol(), false) }.expect("same build");
    let table = entries.instance.ptr;
    // SAFETY: a static table of this build.
    let table = unsafe { &*table };
    assert_eq!(usize::try_from(table.size).ok(), Some(size_of::<abi::InstanceVt>()));
    assert!(table.self_test.is_some() && table.drain_notice.is_some() && table.stop.is_some());
    assert!(table.signal.is_some());
    assert!(table.ready.is_none() && table.quiesce.is_none() && table.resume.is_none());
    assert!(table.export_state.is_none() && table.import_state.is_none());
}

#[test]
fn manifest_says_what_the_macro_was_told() {
    let mut bytes = Vec::new();
    for at in 0..4096 {
        // SAFETY: the manifest ends with a NUL, which ends the loop.
        let byte = unsafe { ptr::from_ref(&MANIFEST).add(at).read() };
        if byte == 0 {
            break;
        }
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).expect("the manifest is text");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..8],
        [
            "hotseat-manifest 1",
            "abi=1.4",
            "requires=0x0000000000000001",
            "crate=export",
            "package=hotseat-plugin-api",
            concat!("version=", env!("CARGO_PKG_VERSION")),
            "name=hello",
            "label=3.1",
        ]
    );
    assert!(lines[8].starts_with("rustc=rustc 1."), "{text}");
    assert_eq!(lines[9..], [concat!("api=", env!("HOTSEAT_API_VERSION")), "panic=unwind"]);
}
