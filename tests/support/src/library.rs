//! Where cargo put the libraries that tests load.
//!
//! Owns the paths of built libraries. Builds nothing: under nextest each test is a process of its
//! own, so one `make plugins` before the run is cheaper than one cargo per test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of this profile: `target/debug` or `target/release`.
///
/// # Panics
/// When this executable has no path.
#[must_use]
pub fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("an executable has a path");
    let folder = program.parent().expect("an executable stands in a folder");
    match folder.file_name() {
        Some(name) if name == "deps" => {
            folder.parent().expect("`deps` stands in the profile's folder").to_owned()
        }
        _ => folder.to_owned(),
    }
}

#[track_caller]
fn existing(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "`{}` is not built: run `make test-plugins`", path.display());
    path
}

/// An example plugin by its library's name: `handler_v1`.
///
/// # Panics
/// When it is not built.
#[must_use]
#[track_caller]
pub fn plugin(name: &str) -> PathBuf {
    plugin_in(&profile_dir(), name)
}

/// As [`plugin`], in the folder of another build.
#[track_caller]
pub(crate) fn plugin_in(folder: &Path, name: &str) -> PathBuf {
    existing(folder.join(format!("lib{name}.so")))
}

/// A test plugin by its name: `new_panics`.
///
/// # Panics
/// When it is not built.
#[must_use]
#[track_caller]
pub fn fault(name: &str) -> PathBuf {
    fault_in(&profile_dir(), name)
}

/// As [`fault`], in the folder of another build.
#[track_caller]
pub(crate) fn fault_in(folder: &Path, name: &str) -> PathBuf {
    existing(folder.join("examples").join(format!("lib{name}.so")))
}

/// The bytes of a library, for faults that are made byte by byte.
///
/// # Panics
/// When it cannot be read.
#[must_use]
#[track_caller]
pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("read a built library")
}

/// Whether `program` can be started here; for tests that lean on curl or nginx.
#[must_use]
pub fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("-V")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok()
}
