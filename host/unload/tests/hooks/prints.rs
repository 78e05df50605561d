//! What a library writes to the standard streams.

use std::{ffi::c_int, io, sync::Mutex};

use super::{build, call, open};

/// What the printer was given, by every library of this process.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn print(_: c_int, text: &[u8], _: u64) -> Option<io::Result<usize>> {
    let text = String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned();
    PRINTED.lock().expect("nobody panics").push(text);
    Some(Ok(7))
}

/// The printer is asked for what may be text, and for nothing else: what comes of a read that failed
/// is refused, and nothing of this process's memory is written anywhere.
#[test]
fn what_is_no_text_is_the_kernels() {
    hotseat_unload::set_printer(print);
    let built = build(
        r#"
        #include <errno.h>
        #include <unistd.h>
        int prints(int fd) { return write(fd, "by the library", 14); }
        int fails(int fd) {
            errno = 0;
            return write(fd, "not to be seen", (size_t)-1) == -1 ? errno : 0;
        }
        "#,
    );
    let library = open(&built.file);
    for fd in [1, 2] {
        assert_eq!(call(&library, c"prints", fd), 7, "the printer's answer");
        let refused = call(&library, c"fails", fd);
        assert!([libc::EINVAL, libc::EFAULT].contains(&refused), "{refused}");
    }
    let printed = PRINTED.lock().expect("nobody panics").clone();
    assert_eq!(printed.iter().filter(|it| *it == "by the library").count(), 2);
    assert!(!printed.iter().any(|it| it.contains("not to be seen")));
    library.close().expect("nothing holds it");
}
