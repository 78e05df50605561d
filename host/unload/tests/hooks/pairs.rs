//! What becomes of pairs of sockets that a library has left open.

use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::net::UnixStream,
    },
};

use super::{build, call, compile, open};

const PAIR: &str = r#"
    #include <fcntl.h>
    #include <sys/socket.h>
    static int pair[2];
    int make(int how) {
        return socketpair(AF_UNIX, SOCK_STREAM | how, 0, pair) ? -1 : pair[0];
    }
    int other(int how) { return pair[1]; }
    int waits(int how) { return fcntl(pair[0], F_SETFL, 0); }
    int looks_so(int how) {
        for (int end = 0; end < 2; end++) {
            if (fcntl(pair[end], F_SETFL, O_NONBLOCK) | fcntl(pair[end], F_SETFD, FD_CLOEXEC))
                return -1;
        }
        return 0;
    }
    int is_inherited(int how) { return fcntl(pair[1], F_SETFD, 0); }
"#;

/// As tokio makes its own.
const TOKIOS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

fn is_open(fd: i32) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok()
}

/// Both ends are closed with it, as tokio's would stay for ever.
#[test]
fn what_nobody_can_reach_is_closed() {
    let built = build(PAIR);
    let library = open(&built.file);
    let (one, other) = (call(&library, c"make", TOKIOS), call(&library, c"other", 0));
    // The numbers may be another test's at once, in one process: what is left of the socket tells.
    // SAFETY: a second descriptor of it, which is ours.
    let mut kept = File::from(unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::dup(one)) });
    assert!(is_open(one) && is_open(other));
    library.close().expect("nothing holds it");
    assert_eq!(kept.read(&mut [0; 1]).expect("an end"), 0, "the other end is closed");
}

/// The rest is not tokio's, and others may have its numbers: a stream that the library has left open
/// would write to whoever has the number next.
#[test]
fn what_others_may_have_is_left_alone() {
    for (kind, then) in [
        (0, None),
        (libc::SOCK_CLOEXEC, None),
        (libc::SOCK_NONBLOCK, None),
        (0, Some(c"looks_so")),
        (TOKIOS, Some(c"waits")),
        (TOKIOS, Some(c"is_inherited")),
    ] {
        let built = build(PAIR);
        let library = open(&built.file);
        let (one, other) = (call(&library, c"make", kind), call(&library, c"other", 0));
        if let Some(then) = then {
            assert_eq!(call(&library, then, 0), 0);
        }
        library.close().expect("nothing holds it");
        for fd in [one, other] {
            assert!(is_open(fd), "{kind} {then:?}");
            // SAFETY: left by the library, and nobody's.
            unsafe { libc::close(fd) };
        }
    }
}

/// One end is closed, and its number is somebody else's: neither is touched.
#[test]
fn what_is_somebodys_by_now_is_left_alone() {
    let built = build(PAIR);
    let library = open(&built.file);
    let (one, other) = (call(&library, c"make", TOKIOS), call(&library, c"other", 0));
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    // SAFETY: the library's, which does nothing with it any more, becomes ours.
    assert_eq!(unsafe { libc::dup2(ours.as_raw_fd(), other) }, other);
    library.close().expect("nothing holds it");
    assert!(is_open(one) && is_open(other));
    drop((ours, theirs));
    for fd in [one, other] {
        // SAFETY: left by the library, and nobody's.
        unsafe { libc::close(fd) };
    }
}

/// A pair that what it calls has made is not its own: who made it stays.
#[test]
fn what_a_dependency_has_made_is_left_alone() {
    let built = build("int nothing(int how) { return how; }");
    let folder = built.file.parent().expect("a folder");
    compile(folder, "keeps", PAIR, &[]);
    let calls = "int make(int); int other(int); int makes(int how) { return make(how); } \
                 int others(int how) { return other(how); }";
    let first = open(&compile(folder, "first", calls, &["-lkeeps"]));
    let second = open(&compile(folder, "second", calls, &["-lkeeps"]));
    let (one, other) = (call(&first, c"makes", TOKIOS), call(&first, c"others", 0));
    first.close().expect("nothing holds it");
    assert!(is_open(one) && is_open(other));
    second.close().expect("nothing holds it");
    for fd in [one, other] {
        // SAFETY: left by the libraries, and nobody's.
        unsafe { libc::close(fd) };
    }
}
