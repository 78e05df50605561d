//! The date of an answer: rendered once a second on each thread.

use std::{
    cell::Cell,
    time::{Duration, UNIX_EPOCH},
};

use crate::serve::clock;

/// Units: bytes of `Sun, 06 Nov 1994 08:49:37 GMT`. Source: RFC 9110, 5.6.7.
const LEN: usize = 29;

/// Units: seconds since 1970 of the last second that has a text of that length.
const LAST_SECOND: u64 = 253_402_300_799;

thread_local! {
    /// What was written last, and for which second since 1970.
    static RENDERED: Cell<(u64, [u8; LEN])> = const { Cell::new((u64::MAX, [0; LEN])) };
}

/// Writes the date of this second, as the wall clock has it.
#[inline]
pub(super) fn put(out: &mut Vec<u8>) {
    put_second(out, clock::wall_seconds());
}

#[inline]
fn put_second(out: &mut Vec<u8>, second: u64) {
    let (known, text) = RENDERED.get();
    let text = if known == second { text } else { render(second) };
    out.extend_from_slice(&text);
}

#[cold]
fn render(second: u64) -> [u8; LEN] {
    let time = UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND));
    let mut text = [0; LEN];
    text.copy_from_slice(httpdate::fmt_http_date(time).as_bytes());
    RENDERED.set((second, text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own() {
        let at = |second| {
            let mut out = Vec::new();
            put_second(&mut out, second);
            String::from_utf8(out).unwrap()
        };
        for second in [784_111_777, 784_111_777, 784_111_778, 784_111_777] {
            let wanted = format!("Sun, 06 Nov 1994 08:49:3{} GMT", second - 784_111_770);
            assert_eq!(at(second), wanted);
        }
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(u64::MAX - 1), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn it_is_that_of_now() {
        let mut out = Vec::new();
        put(&mut out);
        let said = httpdate::parse_http_date(std::str::from_utf8(&out).unwrap()).unwrap();
        let apart = said.elapsed().unwrap();
        assert!(apart < Duration::from_secs(60), "{apart:?}");
    }
}
