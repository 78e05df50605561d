//! Leaves debug information out of the test plugins: each test copies and hashes one, and nobody
//! debugs them.

fn main() {
    println!("cargo:rustc-link-arg=-Wl,--strip-debug");
    println!("cargo:rerun-if-changed=build.rs");
}
