//! Libraries that cargo builds for a test.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use serde_json::Value;

use crate::{Error, Result, find};

/// One build at a time, since tests run beside each other: cargo has a lock, but tells of it.
static ONE: Mutex<()> = Mutex::new(());

/// One target of the test's package.
#[derive(Debug)]
pub(crate) struct Build {
    args: Vec<String>,
}

impl Build {
    pub(crate) fn new(args: Vec<String>) -> Self {
        Self { args }
    }

    /// The library, of the package in `folder` or of the test's own.
    pub(crate) fn run(&self, folder: Option<&Path>) -> Result<PathBuf> {
        let own = || env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let folder = folder.map(Path::to_owned).or_else(own).ok_or_else(|| {
            Error::new(
                "it is not known whose library to build, because the test was not started by cargo: \
                 run `cargo test`, or name the package with `Host::package`",
            )
        })?;
        let folder = folder.canonicalize().map_err(|error| {
            Error::new(format!("the package's folder `{}`: {error}", folder.display()))
        })?;
        let manifest = folder.join("Cargo.toml");
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg("build").args(&self.args).arg("--manifest-path").arg(&manifest);
        command.args(["--message-format=json-render-diagnostics", "--quiet"]);
        if let Some((profile, all)) = find::target() {
            command.arg("--target-dir").arg(all);
            command.args(profile_args(&profile));
        }
        command.current_dir(&folder).stdin(Stdio::null());
        let output = {
            let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            command.output()?
        };
        let what = format!("`cargo build {}`", self.args.join(" "));
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("{what} has failed:\n{text}")));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        library(&text, &manifest).ok_or_else(|| {
            Error::new(format!(
                "{what} in `{}` makes no library that can be loaded: it needs `crate-type = \
                 [\"cdylib\"]`",
                manifest.display()
            ))
        })
    }
}

/// The profile of a folder: `debug` is that of `dev` and `test`.
fn profile_args(folder: &Path) -> Vec<String> {
    match folder.file_name().and_then(|it| it.to_str()) {
        None | Some("debug") => Vec::new(),
        Some(name) => vec!["--profile".to_owned(), name.to_owned()],
    }
}

/// The library that cargo tells of, a message a line.
fn library(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|it| it["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let files = ours.filter(|it| {
        let types = it["target"]["crate_types"].as_array();
        types.is_some_and(|types| types.iter().any(|it| it == "cdylib"))
    });
    files
        .flat_map(|it| it["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| file.extension().is_some_and(|it| it == "so"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{library, profile_args};

    #[test]
    fn the_library_is_found_among_messages() {
        let message = |path: &str, types: &str, file: &str| {
            format!(
                r#"{{"manifest_path":"{path}","target":{{"crate_types":["{types}"]}},"filenames":["{file}"]}}"#
            )
        };
        let messages = [
            message("/other/Cargo.toml", "cdylib", "/target/libother.so"),
            "no JSON".to_owned(),
            message("/mine/Cargo.toml", "rlib", "/target/libmine.rlib"),
            message("/mine/Cargo.toml", "cdylib", "/target/libmine_v1.so"),
        ];
        let found = library(&messages.join("\n"), Path::new("/mine/Cargo.toml"));
        assert_eq!(found, Some(PathBuf::from("/target/libmine_v1.so")));
        assert_eq!(library(&messages.join("\n"), Path::new("/none/Cargo.toml")), None);
    }

    #[test]
    fn profiles_are_named_as_cargo_does() {
        assert!(profile_args(Path::new("/target/debug")).is_empty());
        assert_eq!(profile_args(Path::new("/target/release")), ["--profile", "release"]);
    }
}
