//! Hands versions on: the compiler's and this crate's to the manifest that every plugin carries,
//! and one that never changes to abi_stable, so that no release differs from another for it.

use std::{env, process::Command};

/// What abi_stable's derive takes for this crate's version, in place of the real one. It writes it
/// into every type's layout, and compares it: two releases would refuse each other's libraries
/// although the ABI is the same. Release 0.1.0 knew no better; what says `0.1.0` suits it too. (A
/// check of our own that leaves versions out would not suit it: it does not have that.)
const LAYOUT_VERSION: &str = "0.1.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=HOTSEAT_API_VERSION={}", env!("CARGO_PKG_VERSION"));
    println!("cargo:rustc-env=CARGO_PKG_VERSION={LAYOUT_VERSION}");
    println!("cargo:rerun-if-env-changed=RUSTC");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("-V")
        .output()
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo:rustc-env=HOTSEAT_RUSTC={version}");
}
