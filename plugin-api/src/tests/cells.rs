//! Cells, at the kit's host.

use crate::{
    Bytes, CellError, Versioned,
    testing::steps::{context, context_of_before},
};

fn versioned(version: u64, value: &'static str) -> Versioned<Bytes> {
    Versioned { version, value: Bytes::from(value) }
}

#[test]
fn a_cell_is_read_and_changed() {
    let context = context();
    let cell = context.cell("a");
    assert_eq!((cell.key(), cell.get()), ("a", Ok(None)));
    assert_eq!(cell.set("one"), Ok(1));
    assert_eq!(context.cell("a").get(), Ok(Some(versioned(1, "one"))));
    assert_eq!(cell.set_if(1, "two"), Ok(2));
    let now = Some(versioned(2, "two"));
    assert_eq!(cell.set_if(1, "three"), Err(CellError::Conflict { now: now.clone() }));
    assert_eq!(cell.remove_if(1), Err(CellError::Conflict { now }));
    context.cell("b").set("").unwrap();
    assert_eq!(context.cell("b").get(), Ok(Some(versioned(3, ""))), "empty, but there");
    assert_eq!(context.cells(), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((cell.remove_if(2), cell.get()), (Ok(()), Ok(None)));
    assert_eq!(cell.remove(), Ok(()), "it is gone");
    assert_eq!(cell.set_if(2, "x"), Err(CellError::Conflict { now: None }));
    let long = cell.set([b'x'; (1 << 20) + 1]);
    assert!(matches!(long, Err(CellError::TooLong(_))), "{long:?}");
}

#[test]
fn an_update_is_tried_again_behind_somebody_elses() {
    let context = context();
    let cell = context.cell("a");
    let mut seen = Vec::new();
    let done = cell.update(|old| {
        seen.push(old.map(<[u8]>::to_vec));
        if seen.len() == 1 {
            context.cell("a").set("theirs").unwrap();
        }
        format!("{} and ours", String::from_utf8_lossy(old.unwrap_or(b"nothing")))
    });
    assert_eq!(done.unwrap().value, "theirs and ours");
    assert_eq!(seen, [None, Some(b"theirs".to_vec())]);
}

#[test]
fn a_host_of_before_has_none() {
    let context = context_of_before();
    let cell = context.cell("a");
    let old = |error: CellError| matches!(error, CellError::Unavailable(_));
    assert!(old(cell.get().unwrap_err()) && old(cell.set("x").unwrap_err()));
    assert!(old(cell.update(|_| "x").unwrap_err()) && old(context.cells().unwrap_err()));
}

#[cfg(feature = "config")]
#[test]
fn types_are_kept_as_json() {
    let context = context();
    let cell = context.cell("a");
    assert_eq!(cell.get_as::<Vec<u8>>(), Ok(None));
    cell.set_as(&[1, 2]).unwrap();
    assert_eq!(cell.get().unwrap().unwrap().value, "[1,2]");
    assert_eq!(cell.get_as::<Vec<u8>>().unwrap().unwrap().value, [1, 2]);
    let done = cell.update_as(|old: Option<Vec<u8>>| [old.unwrap(), vec![3]].concat()).unwrap();
    assert_eq!((done.version, done.value), (2, vec![1, 2, 3]));
    cell.set_if_as(2, "text").unwrap();
    assert!(matches!(cell.get_as::<u8>(), Err(CellError::Form(_))));
    assert!(matches!(cell.update_as(|_: Option<u8>| 1), Err(CellError::Form(_))));
}
