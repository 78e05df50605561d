//! Compiles what is C and C++ here, and links each to the one plugin that uses it.

fn main() {
    cc::Build::new().file("native/openmp.c").flag("-fopenmp").cargo_metadata(false).compile("sums");
    cc::Build::new().cpp(true).file("native/work.cc").cargo_metadata(false).compile("work");
    let out = std::env::var("OUT_DIR").expect("cargo gives it");
    for argument in [&*format!("{out}/libsums.a"), "-lgomp"] {
        println!("cargo:rustc-link-arg-example=real_openmp={argument}");
    }
    for argument in [&*format!("{out}/libwork.a"), "-lstdc++"] {
        println!("cargo:rustc-link-arg-example=real_cxx={argument}");
    }
    println!("cargo:rerun-if-changed=native");
}
