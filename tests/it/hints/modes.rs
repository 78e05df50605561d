//! Files and folders have the modes they need, whatever the umask of whoever starts the host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use hotseat_test_support::{fault, host};

/// An umask that takes everything would lock the next host out of what this one has made; one that
/// takes nothing would let everybody in.
#[test]
fn no_umask_locks_out_or_lets_in() {
    for mask in ["0777", "0", "077"] {
        for single in [false, true] {
            let script = format!("umask {mask} && exec \"$@\"");
            let builder = host!().through(&["sh", "-c", &script, "sh"]).arg("--soak-time=100ms");
            let home = builder.home().clone();
            let (pid, socket) = (home.path().join("pid"), home.path().join("data"));
            let word = if single {
                "--single".to_owned()
            } else {
                format!("--pid-file={}", pid.display())
            };
            let listen = format!("unix:{}", socket.display());
            let host = builder.listen(&["127.0.0.1:0", &listen]).arg(word).start();
            host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
            if !single {
                assert_eq!(mode(&pid), 0o644, "umask {mask}");
                host.upgrade(&["--wait"]).assert_code(0);
            }
            assert_eq!(mode(&socket) & 0o600, 0o600, "umask {mask}");
            let state = below(&home.state());
            assert!(state.iter().any(|path| path.ends_with("lock")), "{state:?}");
            for path in state {
                let (mode, wanted) = (mode(&path), if path.is_dir() { 0o700 } else { 0o400 });
                assert_eq!(mode & 0o077, 0, "umask {mask}: {} {mode:04o}", path.display());
                assert_eq!(mode & wanted, wanted, "umask {mask}: {} {mode:04o}", path.display());
            }
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o7777
}

/// The folder and everything in it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
