//! Exports from the executable what plugins are to find in it: the functions that unloading
//! interposes (see `hotseat_unload`), and where their arenas get chunks from (`plugin::heap`).

fn main() {
    let unloading = std::env::var("DEP_HOTSEAT_UNLOAD_LINK_ARGS").unwrap_or_default();
    for argument in unloading.split_whitespace() {
        println!("cargo:rustc-link-arg={argument}");
    }
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol=hotseat_heap_v1");
    println!("cargo:rerun-if-changed=build.rs");
}
