//! What was done to a known file while the host was down, and what the next start makes of it.
//!
//! Method: something is committed from the folder, the host stops, the file is treated, and the next
//! host looks; for each way, with each thing that may serve meanwhile.

use hotseat_test_support::{eventually, wire};

use super::written::Folder;

/// What serves when the host stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// What lies in the folder.
    This,
    /// Something that was loaded by hand.
    Another,
    /// What was there before: the file was rolled back.
    TheOneBefore,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It serves.
    Deployed,
    /// Nothing, and nobody hears of it.
    Nothing,
    /// It stays back, and log and status name the command that deploys it.
    Named,
}

#[track_caller]
fn check(way: &str, script: &str, serves: Serves, then: Then) {
    let mut folder = Folder::watched("events");
    folder.new_content();
    folder.write("cp -p $S $T");
    folder.check_deployed(way);
    match serves {
        Serves::This => {}
        Serves::Another => drop(folder.load_another()),
        Serves::TheOneBefore => {
            folder.host.control().rollback(Some("handler"), None).swapped();
        }
    }
    let before = folder.host.active("handler");
    assert!(folder.host.stop().success());
    let logged = folder.host.home().read_log().len();
    folder.write(script);
    folder.host.start_again();
    folder.events = folder.host.events();
    let what = format!("{way}, {serves:?} serves");
    if then == Then::Deployed {
        eventually!(folder.host.active("handler") > before, "{what}\n{}", folder.host.log_end());
        return;
    }
    folder.check_nothing(before, &what);
    let command = format!("hotseat load {}", folder.target().display());
    let log = folder.host.home().read_log();
    let named = then == Then::Named;
    assert_eq!(log[logged..].contains(&command), named, "{what}: {}", &log[logged..]);
    let files = wire::list(&folder.host.status(), "/files");
    let told = files.iter().any(|it| wire::text(it, "/why").contains(&command));
    assert_eq!(told, named, "{what}: {files:?}");
}

macro_rules! cases {
    ($($name:ident: $way:literal, $script:literal, [$($serves:ident => $then:ident),*];)*) => {$(
        #[test]
        fn $name() {
            $(check($way, $script, Serves::$serves, Then::$then);)*
        }
    )*};
}

// Of the same bytes, a write in place looks like a touch, and a file of the same time in another
// inode like a volume that was mounted anew.
cases! {
    written_in_place: "written in place", "cat $S >$T",
        [This => Nothing, Another => Named, TheOneBefore => Named];
    put_there_with_its_time: "another inode, same time", "cp -p $S $D/.new; mv $D/.new $T",
        [This => Nothing, Another => Named, TheOneBefore => Named];
    put_there_anew: "another inode, another time", "cp $S $D/.new; mv $D/.new $T",
        [This => Nothing, Another => Deployed, TheOneBefore => Named];
    touched: "mode and links", "chmod 600 $T; ln $T $D/../another",
        [This => Nothing, Another => Nothing, TheOneBefore => Nothing];
    let_alone: "nothing", "true",
        [This => Nothing, Another => Nothing, TheOneBefore => Nothing];
    under_another_name: "under another name", "cp -p $S $D/libhandler_v3.so",
        [Another => Deployed, TheOneBefore => Deployed];
    other_bytes: "other bytes", "printf x >>$S; cat $S >$T",
        [This => Deployed, Another => Deployed, TheOneBefore => Deployed];
}
