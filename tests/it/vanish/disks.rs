//! A disk that fills, or is mounted read-only, and comes back.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    assert_unwritable, assert_writable, crash, deploy, other, outside, unwritable, watchful,
};
use hotseat_test_support::{disk, eventually, fault, tool_or_skip};

/// Read-only for a while: served, refused, told of, and taken up again.
#[test]
fn a_disk_that_is_mounted_read_only() {
    let builder = watchful().with(fault("plain_v1"), "libhandler_v1.so");
    let Some((mut host, disk)) = disk::small(builder) else { return };
    if !disk.close() {
        return;
    }
    assert_unwritable(&host, "state_failed");
    let text = host.status()["unwritable"]["text"].to_string();
    assert!(text.contains("Read-only file system"), "{text}");
    let (_outside, folder) = outside();
    for _ in 0..2 {
        let refused = deploy(&host, &folder, "plain_v2", 2).refused();
        assert_eq!((refused.status, &*refused.code), (500, "state_failed"), "{refused:?}");
        host.control().unload("handler").assert_status(500).assert_contains("state_failed");
        crash(&host, "v1");
        assert_unwritable(&host, "state_failed");
    }
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3).assert_says("cannot be written: Read-only file system");
    host.get("/").assert_status(200).assert_contains("v1");
    // A library in memory is unloaded like any other.
    assert!(disk.open());
    assert_writable(&host);
    deploy(&host, &folder, "plain_v2", 2).swapped();
    eventually!(host.loaded().len() == 1, "one library is mapped: {:?}", host.loaded());
    crash(&host, "v2");
    host.upgrade(&["--wait"]).assert_code(0);
    assert!(disk.close());
    assert!(host.stop().success(), "{}", host.log_end());
}

/// A host whose state can only be read starts, and serves what was committed.
#[test]
fn a_start_on_a_disk_that_can_only_be_read() {
    let Some((host, disk)) = disk::small(watchful().with(fault("plain_v1"), "libhandler_v1.so"))
    else {
        return;
    };
    if !disk.close() {
        return;
    }
    let home = host.home().clone();
    let pid = host.pid().to_string();
    let user: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["-U", "--preserve-credentials"] };
    let through = [&["nsenter", "-t", &pid, "-m"][..], user].concat();
    // A host of its own for the lock's sake: the first one has ended, its disk is held by a child.
    let keeper = std::process::Command::new(through[0])
        .args(&through[1..])
        .args(["cat"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let inside = keeper.id().to_string();
    let mut host = host;
    assert!(host.stop().success(), "{}", host.log_end());
    let through = [&["nsenter", "-t", &inside, "-m"][..], user].concat();
    let second = watchful().at(&home).through(&through).start();
    second.get("/").assert_status(200).assert_contains("v1");
    assert_unwritable(&second, "state_failed");
    drop(second);
    drop(keeper.wait_with_output());
}

/// Every change says what is short, nothing is left half done, and the same command works once
/// there is room.
#[test]
fn a_disk_that_fills() {
    let builder = watchful().with(fault("plain_v1"), "libhandler_v1.so");
    let Some((mut host, disk)) = disk::small(builder) else { return };
    let before = ["artifacts", "bin", "."].map(|folder| disk.names(folder));
    let filler = disk.fill();
    assert_unwritable(&host, "disk_full");
    let (_outside, folder) = outside();
    let refused = deploy(&host, &folder, "plain_v2", 2).refused();
    assert_eq!((refused.status, &*refused.code), (500, "disk_full"), "{refused:?}");
    assert!(refused.text.contains("no space left on the device of `"), "{refused:?}");
    assert!(refused.text.contains(" free"), "{refused:?}");
    crash(&host, "v1");
    crash(&host, "v1");
    host.home().drop_in(&fault("plain_v2"), "libhandler_v3.so");
    // The binary as it is, and another one.
    let new = folder.join("hotseat");
    let bytes = [fs::read(env!("CARGO_BIN_EXE_hotseat")).unwrap(), vec![1]].concat();
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    for binary in [&[][..], &["--binary", new.to_str().unwrap()]] {
        let upgrade = host.upgrade(&[&["--wait"], binary].concat());
        upgrade.assert_code(3).assert_says("no space left on the device of `");
        upgrade.assert_says(" bytes needed, ").assert_says("free some space");
    }
    host.get("/").assert_status(200).assert_contains("v1");
    fs::remove_file(filler).unwrap();
    let after = ["artifacts", "bin", "."].map(|folder| disk.names(folder));
    assert_eq!(after[0], before[0], "nothing is half written");
    let others =
        |names: &[String]| names.iter().filter(|it| *it != "bin").cloned().collect::<Vec<_>>();
    assert_eq!(others(&after[2]), others(&before[2]), "nothing is half written");
    assert!(after[1].is_empty(), "{after:?}");
    assert_writable(&host);
    eventually!(host.get("/").text().contains("v2"), "what was dropped in\n{}", host.log_end());
    deploy(&host, &folder, "plain_v1", 4).swapped();
    host.upgrade(&["--wait", "--binary", new.to_str().unwrap()]).assert_code(0);
    let _filler = disk.fill();
    assert_unwritable(&host, "disk_full");
    assert!(host.stop().success(), "{}", host.log_end());
}

/// Room for the small files, and not for a library: that one is refused, others are not.
#[test]
fn a_library_that_does_not_fit() {
    let builder = watchful().with(fault("plain_v1"), "libhandler_v1.so");
    let Some((host, disk)) = disk::small(builder) else { return };
    let size = u64::try_from(other("plain_v2", 0).len()).unwrap();
    let filler = disk.fill();
    let file = fs::File::options().write(true).open(&filler).unwrap();
    // The private copy fits, the artifact beside it does not.
    file.set_len(file.metadata().unwrap().len() - size - size / 2).unwrap();
    let (_outside, folder) = outside();
    let refused = deploy(&host, &folder, "plain_v2", 2).refused();
    assert_eq!(refused.code, "disk_full", "{refused:?}");
    assert!(refused.text.contains(&format!("{size} bytes needed, ")), "{refused:?}");
    assert_eq!(unwritable(&host), None, "{}", host.status());
    assert_eq!(disk.names("artifacts").len(), 1, "nothing is half written");
    eventually!(host.loaded().len() == 1, "it was unloaded: {:?}", host.loaded());
    host.get("/").assert_status(200).assert_contains("v1");
    file.set_len(0).unwrap();
    deploy(&host, &folder, "plain_v2", 2).swapped();
    crash(&host, "v2");
}

/// A limit on the size of files, of every process of the host.
#[test]
fn files_that_may_not_be_as_large() {
    if tool_or_skip("prlimit", "util-linux").is_none() {
        return;
    }
    let mut host = watchful().through(&["prlimit", "--fsize=65536:"]).start();
    let (_outside, folder) = outside();
    let refused = deploy(&host, &folder, "plain_v2", 2).refused();
    assert_eq!((refused.status, &*refused.code), (500, "disk_full"), "{refused:?}");
    assert!(refused.text.contains("limit on file sizes"), "{refused:?}");
    assert!(refused.hint.contains("ulimit -f"), "{refused:?}");
    assert_eq!(unwritable(&host), None, "smaller files can be written");
    assert!(host.stop().success(), "{}", host.log_end());
}
