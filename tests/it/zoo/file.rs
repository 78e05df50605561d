//! Faults of the file as such: what it is, whose it is, what happens to it meanwhile.

use std::{
    fs::{self, Permissions},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use hotseat_test_support::{Deploy, Host, fault};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{OFFERED, check, refused};

/// A good library in the host's working directory.
fn placed(host: &Host) -> PathBuf {
    host.home().place(&fault("plain_v2"), OFFERED)
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

refused! {
    /// There is no such file.
    missing: 404 "file_missing" = |host| host.control().deploy("./libhandler_v9.so");
    /// A part of the path is a file.
    path_through_a_file: 404 "file_missing" = |host| {
        host.control().deploy(placed(host).join("libhandler_v2.so"))
    };
    /// Anybody could have written it.
    world_writable: 422 "world_writable" = |host| {
        let path = placed(host);
        mode(&path, 0o666);
        host.control().deploy(path)
    };
    /// Anybody could have replaced it.
    folder_world_writable: 422 "folder_world_writable" = |host| {
        let folder = host.home().path().join("open");
        fs::create_dir(&folder).unwrap();
        let path = folder.join(OFFERED);
        fs::rename(placed(host), &path).unwrap();
        mode(&folder, 0o777);
        host.control().deploy(path)
    };
    /// The last component is a symlink.
    symlink: 422 "is_symlink" = |host| {
        let link = host.home().path().join("libhandler_v3.so");
        std::os::unix::fs::symlink(placed(host), &link).unwrap();
        host.control().deploy(link)
    };
    /// A FIFO: opening it naively waits for ever.
    fifo: 422 "is_fifo" = |host| {
        let path = host.home().path().join(OFFERED);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        host.control().deploy(path)
    };
    /// A folder.
    directory: 422 "is_directory" = |host| {
        let path = host.home().path().join(OFFERED);
        fs::create_dir(&path).unwrap();
        host.control().deploy(path)
    };
    /// A device.
    device: 422 "is_device" = |host| host.control().deploy("/dev/zero");
    /// A socket.
    socket: 422 "is_socket" = |host| {
        let path = host.home().path().join(OFFERED);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        host.control().deploy(path)
    };
    /// Neither its name nor its manifest gives a usable plugin name.
    unusable_name: 422 "no_name" = |host| {
        let bytes = hotseat_test_support::library::bytes(&fault("plain_v2"));
        let bytes = hotseat_test_support::elf::with_text(
            bytes,
            "\npackage=hotseat-test-plugins\n",
            "\npackage=HOTSEAT TEST PLUGINS\n",
        );
        let bytes = hotseat_test_support::elf::with_text(bytes, "\ncrate=plain_v2\n", "\ncrate=PLAIN_v2\n");
        host.deploy_bytes(&bytes, "Nobody.so")
    };
}

/// The file of an account that nobody trusts. Only root can make one.
#[test]
fn foreign_owner() {
    if !is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let refused = check(
        |host| {
            let path = placed(host);
            std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
            host.control().deploy(path)
        },
        422,
        "foreign_owner",
    );
    assert!(refused.hint.contains("trusted_owners"), "{refused:?}");
}

/// The host may not read it. Root may read everything, so only another account can see this.
#[test]
fn unreadable() {
    if is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    check(
        |host| {
            let path = placed(host);
            mode(&path, 0);
            host.control().deploy(path)
        },
        422,
        "permission_denied",
    );
}

/// A path that is not UTF-8 has a code of its own, whether the file is there or not.
#[test]
fn path_is_not_utf8() {
    check(
        |host| {
            let name = std::ffi::OsStr::from_bytes(b"libhandler_\xff_v2.so");
            fs::rename(placed(host), host.home().path().join(name)).unwrap();
            host.control().deploy(Path::new(name))
        },
        400,
        "not_utf8",
    );
}

/// The file is written to without a pause: it never is what was read. Large, so that no read of it
/// falls between two writes.
#[test]
fn changes_while_it_is_read() {
    let ended = AtomicBool::new(false);
    check(
        |host| -> Deploy {
            let path = host.home().write(OFFERED, b"");
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(32 << 20).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !ended.load(Relaxed) {
                        std::os::unix::fs::FileExt::write_at(&file, b"x", 1 << 20).unwrap();
                    }
                });
                let deploy = host.control().deploy(&path);
                ended.store(true, Relaxed);
                deploy
            })
        },
        422,
        "changed_while_reading",
    );
}

/// It is overwritten after it was checked and before it is loaded: what was checked is what
/// serves.
#[test]
fn changed_between_check_and_load() {
    let host = crate::gate_host();
    let mut events = host.events();
    let path = host.home().place(&fault("new_slow"), OFFERED);
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| host.control().deploy(&path));
        events.wait_phase("verified");
        fs::write(&path, vec![b'#'; 64 << 10]).unwrap();
        let swapped = deploy.join().unwrap().swapped();
        assert_eq!(swapped.generation, host.active("handler"));
    });
    host.get("/").assert_status(200).assert_contains("new_slow");
    host.assert_no_failed_requests();
}

/// It vanishes after it was checked and before it is loaded: the private copy serves.
#[test]
fn vanished_between_check_and_load() {
    let host = crate::gate_host();
    let mut events = host.events();
    let path = host.home().place(&fault("new_slow"), OFFERED);
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| host.control().deploy(&path));
        events.wait_phase("verified");
        fs::remove_file(&path).unwrap();
        deploy.join().unwrap().swapped();
    });
    host.get("/").assert_status(200).assert_contains("new_slow");
}
