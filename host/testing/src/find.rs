//! Where `hotseat` is.

use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The folder of the profile that this test was built in, `target/debug`, and that of all.
pub(crate) fn target() -> Option<(PathBuf, PathBuf)> {
    let test = env::current_exe().ok()?;
    // `target/debug/deps/test-0123`.
    let profile = test.ancestors().find(|it| it.ends_with("deps"))?.parent()?;
    Some((profile.to_owned(), profile.parent()?.to_owned()))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// The one that was `given`, or the first that is there.
pub(crate) fn binary(given: Option<PathBuf>) -> Result<PathBuf> {
    let named = env::var_os("HOTSEAT").filter(|it| !it.is_empty()).map(PathBuf::from);
    for (path, who) in [(given, "`Host::binary`"), (named, "the variable `HOTSEAT`")] {
        if let Some(path) = path {
            let is_there = is_program(&path);
            let wrong = || Error::new(format!("{who} names `{}`: no program", path.display()));
            return if is_there { Ok(path.canonicalize()?) } else { Err(wrong()) };
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let built = target()
        .into_iter()
        .flat_map(|(profile, all)| [profile, all.join("release"), all.join("debug")]);
    let mut places = folders.into_iter().chain(built.clone()).map(|it| it.join("hotseat"));
    places.find(|it| is_program(it)).ok_or_else(|| {
        let looked: Vec<_> = built.map(|it| format!("`{}`", it.display())).collect();
        Error::new(format!(
            "there is no `hotseat` in `PATH`, nor in {}: install it (`cargo install --path host` in \
             its source), or say where it is by the variable `HOTSEAT`",
            looked.join(", ")
        ))
    })
}
