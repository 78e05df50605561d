//! Where `hotseat` is.

use std::{
    env,
    ffi::{OsStr, OsString},
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
    let path = env::var_os("PATH").unwrap_or_default();
    choose(given, env::var_os("HOTSEAT"), &path, target())
}

/// `named` by the variable, else in a folder of `path`, else in a target folder as of [`target`].
fn choose(
    given: Option<PathBuf>,
    named: Option<OsString>,
    path: &OsStr,
    target: Option<(PathBuf, PathBuf)>,
) -> Result<PathBuf> {
    let named = named.filter(|it| !it.is_empty()).map(PathBuf::from);
    for (path, who) in [(given, "`Host::binary`"), (named, "the variable `HOTSEAT`")] {
        if let Some(path) = path {
            let is_there = is_program(&path);
            let wrong = || Error::new(format!("{who} names `{}`: no program", path.display()));
            return if is_there { Ok(path.canonicalize()?) } else { Err(wrong()) };
        }
    }
    let built = target
        .into_iter()
        .flat_map(|(profile, all)| [profile, all.join("release"), all.join("debug")]);
    let mut places = env::split_paths(path).chain(built.clone()).map(|it| it.join("hotseat"));
    let found = places.find(|it| is_program(it)).ok_or_else(|| {
        let looked: Vec<_> = built.map(|it| format!("`{}`", it.display())).collect();
        Error::new(format!(
            "there is no `hotseat` in `PATH`, nor in {}: install it (`cargo install --path host` in \
             its source), or say where it is by the variable `HOTSEAT`",
            looked.join(", ")
        ))
    })?;
    // The host runs in a folder of its own, where a relative one would be another.
    Ok(found.canonicalize()?)
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        ffi::OsStr,
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
        process::Command,
    };

    use tempfile::TempDir;

    use super::{binary, choose, target};

    /// A folder with a program called `hotseat`, or a file that is none, in each of the folders.
    fn programs(folders: &[&str], mode: u32) -> (TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let all = root.path().canonicalize().unwrap();
        for folder in folders {
            fs::create_dir_all(all.join(folder)).unwrap();
            fs::write(all.join(folder).join("hotseat"), "").unwrap();
            let mode = Permissions::from_mode(mode);
            fs::set_permissions(all.join(folder).join("hotseat"), mode).unwrap();
        }
        (root, all)
    }

    #[test]
    fn the_first_place_is_taken() {
        let folders = ["given", "named", "path", "target/mine", "target/release", "target/debug"];
        let (_root, all) = programs(&folders, 0o755);
        let place = |folder: &str| all.join(folder).join("hotseat");
        let find = |given: Option<&str>, named: Option<&str>| {
            let path = env::join_paths([all.join("none"), all.join("path")]).unwrap();
            let target = (all.join("target/mine"), all.join("target"));
            let named = named.map(|it| place(it).into_os_string());
            choose(given.map(place), named, &path, Some(target))
        };
        assert_eq!(find(Some("given"), Some("named")).unwrap(), place("given"));
        assert_eq!(find(None, Some("named")).unwrap(), place("named"));
        for folder in &folders[2..] {
            assert_eq!(find(None, None).unwrap(), place(folder));
            fs::remove_file(place(folder)).unwrap();
        }
        let text = find(None, None).unwrap_err().to_string();
        assert!(text.contains("`HOTSEAT`") && text.contains("target/mine"), "{text}");
        let text = find(None, Some("path")).unwrap_err().to_string();
        assert!(text.starts_with("the variable `HOTSEAT` names `/"), "{text}");
        assert!(find(Some("path"), Some("named")).is_err(), "no other one instead");
    }

    #[test]
    fn what_cannot_be_run_is_none() {
        let (_root, all) = programs(&["path"], 0o644);
        fs::create_dir_all(all.join("folder/hotseat")).unwrap();
        let path = env::join_paths([all.join("path"), all.join("folder")]).unwrap();
        choose(None, None, &path, None).unwrap_err();
        let named = all.join("path/hotseat").into_os_string();
        choose(None, Some(named), OsStr::new(""), None).unwrap_err();
        choose(Some(all.join("folder/hotseat")), None, OsStr::new(""), None).unwrap_err();
    }

    #[test]
    fn a_variable_without_a_value_is_none() {
        let (_root, all) = programs(&["path"], 0o755);
        let found = choose(None, Some("".into()), all.join("path").as_os_str(), None);
        assert_eq!(found.unwrap(), all.join("path/hotseat"));
    }

    #[test]
    fn the_target_folder_is_where_the_test_was_built() {
        let (profile, all) = target().unwrap();
        assert!(env::current_exe().unwrap().starts_with(profile.join("deps")));
        assert_eq!(profile.parent(), Some(&*all));
    }

    /// Runs as children too, whose variables are their own.
    #[test]
    fn the_variables_are_read() {
        const EXPECTED: &str = "HOTSEAT_TEST_EXPECTED";
        if let Some(expected) = env::var_os(EXPECTED) {
            assert_eq!(binary(None).unwrap(), Path::new(&expected));
            return;
        }
        let (_root, all) = programs(&["named", "path"], 0o755);
        let [named, path] = ["named", "path"].map(|folder| all.join(folder));
        for (variables, found) in [
            (vec![("HOTSEAT", named.join("hotseat")), ("PATH", path.clone())], &named),
            (vec![("PATH", path.clone())], &path),
        ] {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", "find::tests::the_variables_are_read"]).env_remove("HOTSEAT");
            child.envs(variables).env(EXPECTED, found.join("hotseat"));
            let output = child.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
    }
}
