//! Real links, and what is not trusted on their way.

use std::{
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
};

use crate::{
    artifact::stage::{StageRules, stage},
    error::Coded as _,
};

use super::*;

fn rules() -> StageRules {
    StageRules { library_bytes: 1 << 20, trusted_owners: Vec::new(), follow_links: true }
}

fn file(path: &Path, content: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(content).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `plugins/a.so -> ..data/a.so`, `..data -> ..one`, and elsewhere `store/x/lib/b.so`.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    for folder in ["plugins/..one", "plugins/..two", "store/x/lib"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    file(&at("plugins/..one/a.so"), b"one");
    file(&at("plugins/..two/a.so"), b"two");
    file(&at("store/x/lib/b.so"), b"store");
    symlink("..one", at("plugins/..data")).unwrap();
    symlink("..data/a.so", at("plugins/a.so")).unwrap();
    tree
}

#[track_caller]
fn check(path: &Path, expected: Result<&[u8], &str>) {
    match (stage(path, &rules()), expected) {
        (Ok(read), Ok(content)) => {
            assert_eq!((&read.bytes[..], &read.path), (content, &path.into()))
        }
        (Err(error), Err(code)) => {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
        (found, _) => panic!("{}: {found:?}", path.display()),
    }
}

#[test]
fn links_are_followed_to_their_end() {
    let tree = tree();
    let plugins = tree.path().join("plugins");
    let link = |name: &str, target: &Path| {
        symlink(target, plugins.join(name)).unwrap();
        plugins.join(name)
    };
    check(&plugins.join("a.so"), Ok(b"one"));
    std::fs::remove_file(plugins.join("..data")).unwrap();
    symlink("..two", plugins.join("..data")).unwrap();
    check(&plugins.join("a.so"), Ok(b"two"));
    check(&link("abs.so", &tree.path().join("store/x/lib/b.so")), Ok(b"store"));
    check(&link("up.so", Path::new("./../plugins/../store/x/lib/b.so")), Ok(b"store"));
    check(&link("chain.so", Path::new("up.so")), Ok(b"store"));
    check(&link("dot.so", Path::new("chain.so/.")), Ok(b"store"));
    for (name, target, code) in [
        ("dangling.so", "nowhere/b.so", "link_dangling"),
        ("through.so", "abs.so/b.so", "link_dangling"),
        ("self.so", "self.so", "link_loop"),
        ("folder.so", "../store", "is_directory"),
        ("here.so", ".", "is_directory"),
        ("root.so", "/", "is_directory"),
        ("device.so", "/dev/null", "is_device"),
    ] {
        check(&link(name, Path::new(target)), Err(code));
    }
    fs::mknodat(fs::CWD, plugins.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    check(&link("fifo.so", Path::new("fifo")), Err("is_fifo"));
    let refused = stage(&plugins.join("a.so"), &StageRules { follow_links: false, ..rules() });
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "is_symlink");
    assert!(refused.hint().unwrap().contains("follow_links"));
}

#[test]
fn every_step_is_to_be_trusted() {
    for (step, mode) in [
        ("store/x/lib/b.so", 0o646),
        ("store/x/lib", 0o777),
        ("store/x", 0o777),
        ("store", 0o777),
        ("plugins", 0o777),
    ] {
        let tree = tree();
        let link = tree.path().join("plugins/b.so");
        symlink(tree.path().join("store/x/lib/b.so"), &link).unwrap();
        check(&link, Ok(b"store"));
        set_mode(&tree.path().join(step), mode);
        let code = if step.ends_with(".so") { "world_writable" } else { "folder_world_writable" };
        check(&link, Err(code));
        if code == "folder_world_writable" {
            set_mode(&tree.path().join(step), 0o1777);
            check(&link, Ok(b"store"));
        }
    }
    // Only root can give a step away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for step in ["store/x/lib/b.so", "store/x/lib", "store/x", "plugins/..data", "plugins/b.so"] {
        let tree = tree();
        let (data, link) = (tree.path().join("plugins/a.so"), tree.path().join("plugins/b.so"));
        symlink(tree.path().join("store/x/lib/b.so"), &link).unwrap();
        let step = tree.path().join(step);
        if step.is_symlink() {
            lchown(&step, Some(4711), None).unwrap();
        } else {
            chown(&step, Some(4711), None).unwrap();
        }
        let asked = if step.ends_with("..data") { &data } else { &link };
        check(asked, Err("foreign_owner"));
        let rules = StageRules { trusted_owners: vec![4711], ..rules() };
        stage(asked, &rules).unwrap();
    }
}
