//! What is refused about a path, told by real files.

use std::{
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;
use crate::error::{Coded as _, Kind};

fn rules() -> StageRules {
    StageRules { library_bytes: 1 << 20, trusted_owners: Vec::new(), follow_links: false }
}

fn file(folder: &Path, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().write_all(content).unwrap();
    path
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn check(path: &Path, code: &str, kind: Kind) -> StageError {
    let error = stage(path, &rules()).unwrap_err();
    assert_eq!((error.code(), error.kind()), (code, kind), "{error}");
    assert!(error.hint().is_some());
    assert!(!error.to_string().contains('\n'));
    error
}

#[test]
fn a_regular_file_is_read_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = file(folder.path(), "big.so", &content[..1 << 20]);
    let read = stage(&path, &rules()).unwrap();
    assert_eq!(&read.bytes[..], &content[..1 << 20]);
    assert_eq!(read.digest, crate::artifact::digest(&content[..1 << 20]));
    let through = folder.path().join("sub/../big.so");
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    assert_eq!(stage(&through, &rules()).unwrap().digest, read.digest);
    let linked = folder.path().join("linked");
    symlink(folder.path(), &linked).unwrap();
    stage(&linked.join("big.so"), &rules()).expect("a symlink in the folder part is followed");
}

#[test]
fn names_that_are_no_text_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), OsStr::from_bytes(b"a\xff\nb.so"), b"x");
    assert_eq!(stage(&path, &rules()).unwrap().path, path);
    set_mode(&path, 0o666);
    let error = check(&path, "world_writable", Kind::Refused);
    assert!(!error.hint().unwrap().contains('\n'));
}

#[test]
fn each_kind_of_thing_has_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    check(&at("none.so"), "file_missing", Kind::Missing);
    check(&at("no/where.so"), "file_missing", Kind::Missing);
    check(Path::new(""), "file_missing", Kind::Missing);
    check(Path::new("a\0b"), "file_missing", Kind::Missing);
    check(&at(&"x".repeat(300)), "file_missing", Kind::Missing);
    let whole = file(folder.path(), "whole.so", b"x");
    check(&whole.join("below"), "file_missing", Kind::Missing);
    check(&at("whole.so/"), "file_missing", Kind::Missing);
    check(folder.path(), "is_directory", Kind::Refused);
    check(&at("."), "is_directory", Kind::Refused);
    check(&at(".."), "is_directory", Kind::Refused);
    check(Path::new("/"), "is_directory", Kind::Refused);
    check(&file(folder.path(), "empty.so", b""), "empty_file", Kind::Refused);
    check(Path::new("/dev/null"), "is_device", Kind::Refused);
    symlink("whole.so", at("link.so")).unwrap();
    let hint = check(&at("link.so"), "is_symlink", Kind::Refused).hint().unwrap();
    assert!(hint.contains(whole.to_str().unwrap()), "{hint}");
    fs::mknodat(fs::CWD, at("fifo.so"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    check(&at("fifo.so"), "is_fifo", Kind::Refused);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.so")).unwrap();
    check(&at("socket.so"), "is_socket", Kind::Refused);
}

#[test]
fn the_size_limit_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    stage(&file(folder.path(), "a.so", &vec![1; 1 << 20]), &rules()).expect("at the limit");
    check(&file(folder.path(), "b.so", &vec![1; (1 << 20) + 1]), "too_large", Kind::TooLarge);
}

#[test]
fn what_everybody_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "it is.so", b"x");
    set_mode(&path, 0o646);
    let hint = check(&path, "world_writable", Kind::Refused).hint().unwrap();
    assert!(hint.contains("chmod o-w '/"), "{hint}");
    set_mode(&path, 0o664);
    stage(&path, &rules()).expect("a group is not everybody");
    set_mode(folder.path(), 0o777);
    check(&path, "folder_world_writable", Kind::Refused);
    set_mode(folder.path(), 0o1777);
    stage(&path, &rules()).expect("a sticky folder");
}

#[test]
fn owners_are_root_the_host_and_the_trusted() {
    let rules = StageRules { library_bytes: 1, trusted_owners: vec![7], follow_links: false };
    let check = |uid| may_deploy(Path::new("/x.so"), &Ownership { uid, mode: 0o644 }, 1000, &rules);
    for uid in [0, 1000, 7] {
        check(uid).unwrap();
    }
    let error = check(8).unwrap_err();
    assert_eq!(error.code(), "foreign_owner");
    let hint = error.hint().unwrap();
    assert!(hint.contains("chown 1000 /x.so") && hint.contains("trusted_owners"), "{hint}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.so", &[1; 1000]);
    let open = std::fs::File::open(&path).unwrap();
    let before = fs::fstat(&open).unwrap();
    let read = |limit| read_whole(&open, &before, &path, limit).map_err(|error| error.code());
    read(1000).expect("unchanged");
    assert_eq!(read(999).unwrap_err(), "too_large");
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[2]).unwrap();
    assert_eq!(read(1000).unwrap_err(), "changed_while_reading", "it grew");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(read(1000).unwrap_err(), "changed_while_reading", "it shrank");
}
