//! What goes away for a while and comes back is not new: a volume that is mounted late, a folder or a
//! file that is moved out and in, a file that is removed and written again.

use super::written::Folder;

/// How it goes, and how it comes back.
const WAYS: [(&str, &str); 4] = [
    ("mv $D $D.away; mkdir $D", "rm -r $D; mv $D.away $D"),
    ("mv $T $D.away", "mv $D.away $T"),
    ("rm $T", "cp -p $S $T"),
    ("rm $T", "cp $S $T"),
];

/// What a rollback has left stays back, seen to be away or not.
#[test]
fn a_rollback_is_not_undone_by_what_comes_back() {
    for mode in ["events", "polling"] {
        let mut folder = Folder::watched(mode);
        folder.new_content();
        folder.write("cp -p $S $T");
        folder.check_deployed("new content");
        let back = folder.host.control().rollback(Some("handler"), None).swapped().generation;
        for (goes, comes) in WAYS {
            let what = format!("{goes}, {comes}, {mode}");
            folder.write(goes);
            folder.check_nothing(back, &what);
            folder.write(comes);
            folder.check_nothing(back, &what);
        }
        // Over a restart too, with the folder there only later.
        assert!(folder.host.stop().success());
        folder.write(WAYS[0].0);
        folder.host.start_again();
        folder.events = folder.host.events();
        folder.check_nothing(back, "a start without the folder");
        folder.write(WAYS[0].1);
        folder.check_nothing(back, "the folder comes later");
    }
}
