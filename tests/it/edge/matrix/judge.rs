//! Whether an answer is the one that a cell must get.
//!
//! Owns the comparison alone: text of what differs, for a report of many cells.

use std::sync::LazyLock;

use hotseat_test_support::Answer;

use super::cell::{Cell, Content, LARGE, Read, Sent};

/// What bodies are cut from: a byte that is lost, doubled or out of place shows.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..LARGE).map(|at| u8::try_from(at % 251).unwrap()).collect());

/// The body of a cell's request.
pub(super) fn body(sent: Sent) -> &'static [u8] {
    &PATTERN[..sent.len()]
}

/// Fails where the two differ.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    came: &T,
    wanted: &T,
) -> Result<(), String> {
    if came == wanted {
        return Ok(());
    }
    Err(format!("{what}: {came:?} instead of {wanted:?}"))
}

/// Fails where the answer, or how many trailers came with it, is not as the cell wants.
pub(super) fn answer(cell: &Cell, came: &Answer, trailers: usize) -> Result<(), String> {
    let wanted = cell.wanted();
    let text = || {
        let text = came.text();
        text.chars().take(120).collect::<String>()
    };
    equal("status", &came.status, &wanted.status).map_err(|it| format!("{it}: {}", text()))?;
    equal("hotseat-error", &came.error_code(), &wanted.code)?;
    let wanted_trailers = match &wanted.body {
        Content::WithTrailers(_) => 1,
        Content::Same if matches!(cell.sent, Sent::Chunked(_)) => 1,
        _ => 0,
    };
    // HTTP/1.0 has none.
    if cell.protocol != super::cell::Protocol::Http10 {
        equal("trailers", &trailers, &wanted_trailers)?;
    }
    match &wanted.body {
        Content::Any | Content::Echo => {}
        Content::Text(text) => equal("body", &came.text(), text)?,
        Content::Letters(size) | Content::WithTrailers(size) => {
            equal("length", &came.body.len(), size)?;
            equal("letters", &came.body.iter().all(|byte| *byte == b'e'), &true)?;
        }
        Content::Same => {
            equal("length", &came.body.len(), &cell.sent.len())?;
            equal("the body itself", &(came.body == body(cell.sent)), &true)?;
        }
    }
    if cell.read == Read::All && wanted.code.is_none() && wanted.status == 200 {
        let read = cell.sent.len().to_string();
        equal("x-length", &came.header("x-length"), &Some(read.as_str()))?;
        let trailers = if matches!(cell.sent, Sent::Chunked(_)) { "1" } else { "0" };
        equal("x-trailers", &came.header("x-trailers"), &Some(trailers))?;
    }
    Ok(())
}

/// Fails where a request that was cut is answered as if it had come whole.
pub(super) fn cut(cell: &Cell, came: &Answer) -> Result<(), String> {
    if cell.needs_all() && came.status < 400 {
        return Err(format!("half a body is answered: {} {}", came.status, came.text()));
    }
    // A body that breaks off is its client's fault, and no plugin's.
    let own = matches!(
        cell.answer,
        super::cell::Answer::Error | super::cell::Answer::Panic | super::cell::Answer::Timeout
    );
    if came.status >= 500 && !own && came.status != cell.wanted().status {
        return Err(format!("half a body: {} {:?}", came.status, came.error_code()));
    }
    Ok(())
}
