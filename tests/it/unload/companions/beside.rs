//! Libraries that lie beside a plugin's file, and libraries of the host's.

use std::path::Path;

use super::*;

/// A folder as a vendor ships it: the plugin, and its companion by `$ORIGIN`.
fn ship(shelf: &Shelf, folder: &str, places: &str, number: u8) -> PathBuf {
    let file = shelf.path(folder).join("libhandler_v1.so");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, shelf.plugin(places, number)).unwrap();
    file
}

/// `$ORIGIN` is the folder of the private copy: refused, with where the author's lies and how it is
/// shipped, by a deploy and by a check; and each way works.
#[test]
fn a_companion_beside_the_file_is_refused_with_the_ways_to_ship_it() {
    let Some(shelf) = Shelf::new() else { return };
    let host = brisk().env("LD_LIBRARY_PATH", "").start();
    for (number, (places, folder)) in (1..).zip([
        ("$ORIGIN", "1"),
        ("${ORIGIN}/lib", "2/lib"),
        ("$ORIGIN/../3lib", "3lib"),
        ("/no/such:$ORIGIN/$LIB", "4/lib64"),
        // Nor would it be found by the author.
        ("/no/such", "5"),
    ]) {
        let lies = shelf.companion(folder, "A", USUAL);
        let lies = fs::canonicalize(lies).unwrap();
        let file = ship(&shelf, &number.to_string(), places, number);
        let refused = host.control().deploy(&file).assert_refused(422, "dlopen_failed");
        let folder = lies.parent().unwrap().display();
        contains_all(
            &refused.hint,
            &[
                "`libcompanion.so.1` was looked for",
                &format!("yours is `{}`", lies.display()),
                "system",
                "statically",
                &format!("-rpath,{folder}`"),
                &format!("LD_LIBRARY_PATH={folder}`"),
            ],
        );
        let check = host!().run(&["check", file.to_str().unwrap()]);
        assert_eq!(check.status.code(), Some(2));
        contains_all(&String::from_utf8_lossy(&check.stderr), &["yours is"]);
    }
    host.deploy_bytes(&shelf.plugin("@/1", 9), "libhandler_v1.so").swapped();
    says(&host, "A");
    let env = brisk().env("LD_LIBRARY_PATH", shelf.path("1")).start();
    env.control().deploy(shelf.path("1").join("libhandler_v1.so")).swapped();
    says(&env, "A");
}

/// Where the loader has found another copy elsewhere, the author's would have been taken from his file:
/// refused as well. The same build is accepted, and so is what comes before in any case.
#[test]
fn another_copy_than_the_one_beside_is_not_taken_in_silence() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("b", "B", USUAL);
    let yours = shelf.companion("ship", "A", USUAL);
    let host = brisk().env("LD_LIBRARY_PATH", "").start();
    let file = ship(&shelf, "ship", "$ORIGIN:@/b", 1);
    let refused = host.control().deploy(&file).assert_refused(422, "companion_not_taken");
    contains_all(&refused.text, &["$ORIGIN", yours.to_str().unwrap(), "/b/libcompanion.so.1"]);
    contains_all(&refused.hint, &["statically", "-rpath", "system"]);
    host.control().deploy(ship(&shelf, "ship", "@/b:$ORIGIN", 2)).swapped();
    says(&host, "B");
    let env = brisk().env("LD_LIBRARY_PATH", shelf.path("b")).start();
    env.control().deploy(ship(&shelf, "ship", "$ORIGIN:@/b", 1)).swapped();
    says(&env, "B");
    shelf.companion("b", "A", USUAL);
    let host = brisk().env("LD_LIBRARY_PATH", "").start();
    host.control().deploy(ship(&shelf, "ship", "$ORIGIN:@/b", 1)).swapped();
    says(&host, "A");
}

/// What the host needs itself was upgraded on disk: its plugins go on with what it began with, and it is
/// said until it is upgraded as well.
#[test]
fn a_library_of_the_hosts_that_was_replaced_is_said() {
    let Some(shelf) = Shelf::new() else { return };
    let first = brisk().start();
    let known = mapped(&first, "libgcc_s.so.1");
    drop(first);
    let mut bytes = library::bytes(Path::new(&known[0]));
    let folder = shelf.path("env");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("libgcc_s.so.1");
    fs::write(&path, &bytes).unwrap();
    let host = brisk().env("LD_LIBRARY_PATH", &folder).start();
    let swapped = host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    assert!(!swapped.notes.contains("libgcc_s"), "{}", swapped.notes);
    let id = elf::section(&bytes, ".note.gnu.build-id");
    bytes[id.end - 1] ^= 1;
    let new = folder.join("new");
    fs::write(&new, &bytes).unwrap();
    fs::rename(new, &path).unwrap();
    let swapped = host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let began = format!("this process began with `{}`", path.display());
    contains_all(&swapped.notes, &["`libgcc_s.so.1`", &began, "hotseat upgrade"]);
    host.upgrade(&["--wait"]).assert_code(0);
    let swapped = host.deploy(&fault("plain_v1"), "libhandler_v3.so").swapped();
    assert!(!swapped.notes.contains("libgcc_s"), "{}", swapped.notes);
}

/// In place of what the host itself needs no plugin can have another one: that is said.
#[test]
fn a_library_of_the_hosts_is_the_hosts() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("ship", "A", USUAL);
    shelf.make("ship", "libgcc_s.so.1", "int other;", &[BUILD, "-Wl,-soname,libgcc_s.so.1"]);
    // The loader remembers which folders were not there when it looked first.
    fs::create_dir(shelf.path("env")).unwrap();
    let companion = Path::new("libcompanion.so.1");
    fs::copy(shelf.path("ship").join(companion), shelf.path("env").join(companion)).unwrap();
    let host = brisk().env("LD_LIBRARY_PATH", shelf.path("env")).start();
    let swapped = host.control().deploy(ship(&shelf, "ship", "$ORIGIN", 1)).swapped();
    contains_all(&swapped.notes, &["is not taken as `libgcc_s.so.1`", "the host needs"]);
    says(&host, "A");
}
