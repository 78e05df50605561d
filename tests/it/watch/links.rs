//! Libraries that are symlinks: a mounted ConfigMap, a Nix profile, and what must not be followed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use hotseat_test_support::{Host, eventually, fault, library, wire};

use super::{quick, settle};

/// A volume with one library: `name -> ..data/name -> ..one/name`.
fn volume(folder: &Path, name: &str, content: &[u8]) {
    fs::create_dir(folder.join("..one")).unwrap();
    fs::write(folder.join("..one").join(name), content).unwrap();
    symlink("..one", folder.join("..data")).unwrap();
    symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
}

/// One rename brings a new folder to all names, and the old one goes.
fn swap(folder: &Path, [before, now]: [&str; 2], name: &str, content: &[u8]) {
    fs::create_dir(folder.join(now)).unwrap();
    fs::write(folder.join(now).join(name), content).unwrap();
    symlink(now, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_dir_all(folder.join(before)).unwrap();
}

#[track_caller]
fn serves(host: &Host, answer: &str) {
    eventually!(host.get("/").text() == answer, "{}\n{}", host.status(), host.log_end());
}

#[test]
fn a_mounted_volume_is_followed() {
    let [one, two] = ["plain_v1", "plain_v2"].map(|name| library::bytes(&fault(name)));
    for mode in ["events", "polling"] {
        let builder = quick().arg(format!("--watch={mode}")).arg("--follow-links");
        let folder = builder.home().plugins();
        volume(&folder, "libhandler_v1.so", &one);
        let mut host = builder.start();
        serves(&host, "v1");
        let mut events = host.events();
        swap(&folder, ["..one", "..two"], "libhandler_v1.so", &two);
        serves(&host, "v2");
        // Another key of the volume changed: this file was written again with all others, and nobody
        // means it by that.
        host.control().rollback(Some("handler"), None).swapped();
        host.deploy_bytes(&[&one[..], &[1]].concat(), "libhandler_v3.so").swapped();
        let loaded = host.active("handler");
        swap(&folder, ["..two", "..three"], "libhandler_v1.so", &two);
        settle(&host, &mut events, "marker");
        settle(&host, &mut events, "second");
        assert_eq!(host.active("handler"), loaded, "{mode}");
        host.restart();
        settle(&host, &mut host.events(), "third");
        assert_eq!(host.active("handler"), loaded, "{mode}");
        // The command that is named works.
        host.control().deploy(folder.join("libhandler_v1.so")).swapped();
        serves(&host, "v2");
        swap(&folder, ["..three", "..four"], "libhandler_v1.so", &one);
        serves(&host, "v1");
    }
}

/// A link of its own that is changed, over a chain, to a library with another name.
#[test]
fn a_profile_is_followed() {
    let builder = quick().config("follow_links = true\n");
    let home = builder.home().clone();
    for (version, library) in [("1", "plain_v1"), ("2", "plain_v2")] {
        fs::create_dir_all(home.path().join(format!("store/{version}/lib"))).unwrap();
        let bytes = library::bytes(&fault(library));
        fs::write(home.path().join(format!("store/{version}/lib/x.so")), bytes).unwrap();
    }
    let profile = home.path().join("profile");
    symlink("store/1", &profile).unwrap();
    let link = home.plugins().join("libhandler_v1.so");
    symlink(profile.join("lib/x.so"), &link).unwrap();
    let host = builder.start();
    serves(&host, "v1");
    // Nothing happens in the folder itself.
    symlink("store/2", home.path().join("new")).unwrap();
    fs::rename(home.path().join("new"), &profile).unwrap();
    serves(&host, "v2");
    fs::remove_file(&link).unwrap();
    symlink("../store/1/lib/x.so", &link).unwrap();
    serves(&host, "v1");
}

/// What is no file behind its link is named once; what others may change is refused until they may
/// not.
#[test]
fn what_must_not_be_followed() {
    let host = quick().arg("--follow-links").with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    let folder = host.home().plugins();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.home().path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (name, target, why) in [
        ("liba_v1.so", "nowhere", "leads nowhere"),
        ("libb_v1.so", "libb_v1.so", "in a circle"),
        ("libc_v1.so", "..", "no file"),
        ("libd_v1.so", "../fifo", "no file"),
        ("libe_v1.so", "/dev/null", "no file"),
    ] {
        symlink(target, folder.join(name)).unwrap();
        let event = events.wait_for(|it| it.phase == "ignored");
        assert!(event.detail.contains(name) && event.detail.contains(why), "{}", event.json);
    }
    for marker in ["one", "two"] {
        let others = settle(&host, &mut events, marker);
        assert!(others.iter().all(|it| it.phase != "ignored"), "once each: {others:?}");
    }
    assert_eq!(wire::list(&host.status(), "/files").len(), 5);
    let open = host.home().path().join("open");
    fs::create_dir(&open).unwrap();
    fs::copy(fault("plain_v2"), open.join("x.so")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    symlink("../open/x.so", folder.join("libf_v1.so")).unwrap();
    let refused = events.wait_for(|it| it.phase == "refused");
    assert!(refused.detail.starts_with("folder_world_writable"), "{}", refused.json);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    events.wait_for(|it| it.phase == "committed" && it.plugin == "f");
    // A dangling link is followed once it leads somewhere.
    fs::copy(fault("plain_v2"), folder.join("nowhere")).unwrap();
    events.wait_for(|it| it.phase == "committed" && it.plugin == "a");
    assert_eq!(wire::list(&host.status(), "/files").len(), 4);
}
