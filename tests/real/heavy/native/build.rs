//! Compiles what is C and C++ here; the plugin that uses it says that it links it.

fn main() {
    cc::Build::new().file("native/openmp.c").flag("-fopenmp").cargo_metadata(false).compile("sums");
    cc::Build::new().cpp(true).file("native/work.cc").cargo_metadata(false).compile("work");
    let out = std::env::var("OUT_DIR").expect("cargo gives it");
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rerun-if-changed=native");
}
