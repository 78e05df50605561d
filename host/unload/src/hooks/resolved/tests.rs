//! Facts about what this test has loaded itself, and when two copies are one.

use super::*;

fn image(path: &str, inode: Option<u64>, build_id: Option<&str>) -> Image {
    Image {
        path: path.to_owned(),
        file: inode.map(|inode| ("fd:01".to_owned(), inode)),
        build_id: build_id.map(str::to_owned),
        own: false,
    }
}

#[test]
fn one_build_is_the_same_wherever_it_lies() {
    let known = image("/a", Some(1), Some("aa"));
    for (other, same) in [
        (image("/a", Some(1), Some("aa")), true),
        // A copy, or a link to it; deleted since, and put there again.
        (image("/b", Some(1), Some("aa")), true),
        (image("/a", Some(2), Some("aa")), true),
        (image("/a", None, Some("aa")), true),
        (image("/a", Some(2), Some("bb")), false),
        (image("/a", Some(1), None), false),
    ] {
        assert_eq!(known.is_same(&other), same, "{other}");
        assert_eq!(other.is_same(&known), same, "{other}");
    }
    // Without a build id the file decides, and where nobody shows it the path.
    let bare = |path, inode| image(path, inode, None);
    assert!(bare("/a", Some(1)).is_same(&bare("/b", Some(1))));
    assert!(!bare("/a", Some(1)).is_same(&bare("/a", Some(2))));
    assert!(bare("/a", None).is_same(&bare("/a", Some(2))));
    assert!(!bare("/a", None).is_same(&bare("/b", None)));
}

#[test]
fn an_image_is_shown_with_what_is_known() {
    assert_eq!(image("/a", None, None).to_string(), "`/a`");
    assert_eq!(image("/a", Some(7), Some("ab")).to_string(), "`/a` (inode 7, build id ab)");
}

/// The test has libc from its beginning: that is its own, under any name, and never another copy.
#[test]
fn what_the_process_began_with_is_its_own() {
    needed::begin();
    let all = Known::all(true);
    let at = resolve(&all, b"libc.so.6").unwrap();
    let libc = all[at].image(Some(&Files::read()));
    assert!(libc.own && libc.file.is_some(), "{libc:?}");
    let inside = object::find(object::in_libc()).unwrap();
    assert_eq!(Some(inside.id()), all[at].map);
    let other = Resolved {
        wanted: "libc.so.6".to_owned(),
        image: image("/other/libc.so.6", Some(1), Some("aa")),
    };
    assert_eq!(other_copy(std::slice::from_ref(&other), None), None);
    assert_eq!(replaced(&[other])[0].here, libc);
    let same = Resolved { wanted: "libc.so.6".to_owned(), image: libc };
    assert!(replaced(&[same]).is_empty());
    assert!(resolve(&all, b"no-such.so").is_none());
    assert_eq!((taken(&all, b"no-such.so"), taken(&all, b"libc.so.6")), (None, Some(at)));
}
