//! Lists of the C library's and the unwinder's that a library's own memory stands in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{LONG, build, call, compile, held, open};

/// There is one hash table in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const LISTS: &str = r#"
    #include <search.h>
    #include <string.h>
    extern void __register_frame(void *), __deregister_frame(void *);
    extern void __register_frame_info(void *, void *), *__deregister_frame_info(void *);
    extern int addseverity(int, const char *);
    /* One entry that describes nothing, and the end. */
    static struct { unsigned length, id; unsigned char rest[8]; unsigned end; } tables = {
        12, 0, { 1, 0, 1, 0x78, 16, 0, 0, 0 }, 0
    };
    static void *object[16];
    int PREFIX_begins(int way) {
        ENTRY entry = { "key", &tables };
        switch (way) {
        case 0: __register_frame(&tables); return 0;
        case 1: __register_frame_info(&tables, object); return 0;
        case 2: return addseverity(7, "own");
        default: return hcreate(8) && hsearch(entry, ENTER) ? 0 : -1;
        }
    }
    int PREFIX_ends(int way) {
        switch (way) {
        case 0: __deregister_frame(&tables); return 0;
        case 1: return __deregister_frame_info(&tables) == object ? 0 : -1;
        case 2: return addseverity(7, 0);
        default: hdestroy(); return 0;
        }
    }
"#;

/// Whoever is in one stays, as does what it goes with, until it is taken out again.
#[test]
fn whoever_is_listed_stays() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let [own, other] = ["own", "other"].map(|name| LISTS.replace("PREFIX", name));
    compile(folder.path(), "other", &other, &["-Wl,-soname=libother.so", "-lgcc_s"]);
    let more = ["-Wl,--no-as-needed", "-lother", "-lgcc_s"];
    let mut library = open(&compile(folder.path(), "own", &own, &more));
    let ways = ["`__register_frame`", "`__register_frame`", "`addseverity`", "`hsearch`"];
    for (way, reason) in (0..).zip(ways) {
        for (begins, ends) in [(c"own_begins", c"own_ends"), (c"other_begins", c"other_ends")] {
            assert_eq!(call(&library, begins, way), 0, "{reason}");
            library = held(library.close(), reason);
            assert_eq!(call(&library, ends, way), 0, "{reason}");
            assert_eq!(library.held(), None, "{reason}");
        }
    }
    library.close_soon(LONG, LONG).expect("nothing holds it");
}

/// What stands there already was not entered by who asks for it.
#[test]
fn whoever_finds_an_entry_is_not_listed() {
    let _alone = alone();
    let built = build(
        r#"
        #include <search.h>
        #include <string.h>
        int nobodys(int how) {
            ENTRY entry = { strdup("key"), 0 };
            return hcreate(8) && hsearch(entry, ENTER) ? 0 : -1;
        }
        int finds(int how) {
            ENTRY entry = { "key", "data" };
            return hsearch(entry, ENTER) ? 0 : -1;
        }
        int ends(int how) { hdestroy(); return 0; }
        "#,
    );
    let library = open(&built.file);
    assert_eq!((call(&library, c"nobodys", 0), call(&library, c"finds", 0)), (0, 0));
    assert_eq!(library.held(), None);
    assert_eq!(call(&library, c"ends", 0), 0);
    library.close().expect("nothing holds it");
}

/// Whoever enters a key once more, with other data, changes nothing; and whoever has the data stays as
/// well as who has the key.
#[test]
fn whoever_has_the_data_of_an_entry_is_listed() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let keeps = r#"
        #include <search.h>
        static char key[] = "key";
        static int data;
        int enters(void *it) {
            ENTRY entry = { key, it ? it : &data };
            return hsearch(entry, ENTER) ? 0 : -1;
        }
        int begins(int how) { return hcreate(8) ? how : -1; }
        int ends(int how) { hdestroy(); return how; }
    "#;
    compile(folder.path(), "table", keeps, &["-Wl,-soname=libtable.so"]);
    let calls = "int enters(void *), begins(int), ends(int); static int data; \
                 int first(int how) { return begins(0) | enters(&data); } \
                 int again(int how) { return enters(0); } \
                 int stop(int how) { return ends(0); }";
    let [own, other] =
        ["user", "other"].map(|name| open(&compile(folder.path(), name, calls, &["-ltable"])));
    assert_eq!((call(&own, c"first", 0), call(&other, c"again", 0)), (0, 0));
    let own = held(own.close(), "`hsearch`");
    assert_eq!(call(&own, c"stop", 0), 0);
    own.close().expect("nothing holds it");
    other.close().expect("nothing holds it");
}
