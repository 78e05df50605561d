//! Answers made by hand, field by field, as no library would make them.
//!
//! The path names the answer, see [`fill_answer`]; `/fine` is one as it should be.
#![expect(unsafe_code, reason = "the ABI's raw values are the purpose")]

use std::ptr;

use hotseat_plugin_api::{
    Context, Handler, Request, Response, Result,
    abi::{
        self, Answer, Bytes, Growing, Headers, RequestHead, Str, Stream, Upgrade, Waker, body, poll,
    },
    export, manifest,
};

mod fields;
mod streams;

use fields::Fields;
use streams::{EARLY, LONGER, NULL_PIECE, OPEN, SHORTER, STRANGE, stream};

/// Every body that is one.
const TEN: &[u8] = b"0123456789";

/// Exactly as many fields as an answer may have.
const FIELDS_MAX: usize = 512;

struct Never;

impl Handler for Never {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::empty())
    }
}

// ---- values

const fn bytes(text: &'static [u8]) -> Bytes {
    Bytes { ptr: text.as_ptr(), len: text.len(), owner: ptr::null_mut(), drop: None }
}

const NULL: Bytes = Bytes { ptr: ptr::null(), len: 10, owner: ptr::null_mut(), drop: None };

fn plain() -> Answer {
    Answer {
        status: 200,
        body: body::BYTES,
        reserved: 0,
        headers: Headers::NONE,
        bytes: bytes(TEN),
        stream: Stream { data: ptr::null_mut(), vt: ptr::null() },
        upgrade: Upgrade { data: ptr::null_mut(), start: None, drop: None },
        more: [0; 2],
    }
}

// ---- answers

/// Fills the answer that `name` names; another code than `READY` where that is the fault.
fn fill_answer(name: &str, answer: &mut Answer) -> u32 {
    let streamed = |answer: &mut Answer, table| {
        (answer.body, answer.stream) = (body::STREAM, stream(table));
    };
    match name {
        "kind" => answer.body = 9,
        "poll" => return 77,
        "poll-end" => return poll::END,
        "failed-null" => {
            answer.bytes = NULL;
            return poll::FAILED;
        }
        "null" => answer.bytes = NULL,
        "huge" => answer.bytes = Bytes { len: usize::MAX, ..bytes(TEN) },
        "longer" => streamed(answer, &LONGER),
        "shorter" => streamed(answer, &SHORTER),
        "open" => streamed(answer, &OPEN),
        "stream-poll" => streamed(answer, &STRANGE),
        "stream-null" => streamed(answer, &NULL_PIECE),
        "stream-no-table" => answer.body = body::STREAM,
        "trailers-early" => streamed(answer, &EARLY),
        "upgrade-200" => answer.body = body::UPGRADE,
        "upgrade-code" => {
            (answer.status, answer.body) = (101, body::UPGRADE);
            answer.upgrade.start = Some(streams::converse);
        }
        "upgrade-no-start" => (answer.status, answer.body) = (101, body::UPGRADE),
        "fields" => answer.headers = Fields::many(FIELDS_MAX),
        "fields-over" => answer.headers = Fields::many(FIELDS_MAX + 1),
        "fields-endless" => answer.headers = Fields::many(usize::MAX),
        "name" => answer.headers = Fields::pairs(&[("x bad", "1")]),
        "name-empty" => answer.headers = Fields::pairs(&[("", "1")]),
        "value" => answer.headers = Fields::pairs(&[("x-bad", "1\r\nx-more: 2")]),
        "hop" => {
            answer.headers = Fields::pairs(&[
                ("connection", "close, x-own"),
                ("keep-alive", "timeout=1"),
                ("proxy-connection", "close"),
                ("transfer-encoding", "chunked"),
                ("te", "trailers"),
                ("upgrade", "echo"),
                ("x-own", "1"),
            ]);
        }
        _ => return number(name, answer),
    }
    poll::READY
}

/// `status-CODE`, and `length-HOW` of bytes or `stream-length-HOW` of a stream.
fn number(name: &str, answer: &mut Answer) -> u32 {
    if let Some(status) = name.strip_prefix("status-").and_then(|it| it.parse().ok()) {
        answer.status = status;
        return poll::READY;
    }
    let how = match name.strip_prefix("stream-") {
        Some(how) => {
            (answer.body, answer.stream) = (body::STREAM, stream(&OPEN));
            how
        }
        None => name,
    };
    answer.headers = match how {
        "length-word" => Fields::pairs(&[("content-length", "ten")]),
        "length-signed" => Fields::pairs(&[("content-length", "+10")]),
        "length-huge" => Fields::pairs(&[("content-length", "99999999999999999999")]),
        "length-twice" => Fields::pairs(&[("content-length", "10"), ("content-length", "10")]),
        "length-two" => Fields::pairs(&[("content-length", "10"), ("content-length", "11")]),
        "length-list" => Fields::pairs(&[("content-length", "10, 10")]),
        "length-less" => Fields::pairs(&[("content-length", "5")]),
        "length-more" => Fields::pairs(&[("content-length", "20")]),
        "length-right" => Fields::pairs(&[("content-length", "10")]),
        _ => Headers::NONE,
    };
    poll::READY
}

unsafe extern "C" fn poll_answer(data: *mut (), _: *const Waker, out: *mut Answer) -> u32 {
    // SAFETY: the box made in `call`.
    let path = unsafe { &*data.cast::<String>() };
    let mut answer = plain();
    let code = fill_answer(path.trim_start_matches('/'), &mut answer);
    // SAFETY: the host gives room for one answer.
    unsafe { out.write(answer) };
    code
}

unsafe extern "C" fn free_path(data: *mut ()) {
    // SAFETY: the box made in `call`; the host frees a future once.
    drop(unsafe { Box::from_raw(data.cast::<String>()) });
}

unsafe extern "C" fn call(_: *const (), head: Growing<RequestHead>) -> abi::Future<Answer> {
    // SAFETY: the head lives until the future is dropped, its texts are UTF-8.
    let path = unsafe { (*head.ptr).path.bytes() };
    let path = String::from_utf8_lossy(path).into_owned();
    let data = Box::into_raw(Box::new(path)).cast();
    abi::Future { data, poll: poll_answer, drop: free_path }
}

// ---- the library's entry, as `export_handler!` makes it but for `call`

const PARTS: &[&str] = &[
    manifest::HEAD,
    "abi=",
    manifest::ABI,
    "\nrequires=",
    manifest::REQUIRES,
    "\ncrate=raw_answers\npackage=raw_answers\nversion=1.0.0\nname=\nlabel=\nrustc=",
    manifest::RUSTC,
    "\napi=",
    manifest::API,
    "\npanic=unwind\n\0",
];

#[unsafe(export_name = "hotseat_manifest")]
#[unsafe(link_section = ".hotseat")]
#[used]
static MANIFEST: [u8; manifest::length(PARTS)] = manifest::join(PARTS);

struct Entry;

impl export::StaticRoot for Entry {
    const ROOT: &'static export::RootWithMetadata =
        &export::RootWithMetadata::new(export::Root::new(
            Str::new(&MANIFEST),
            export::new::<Never>,
            call,
            export::Table::<Never>::TABLE,
        ));
}

// The name is `abi::root::ROOT_SYMBOL`.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
#[used]
static ROOT: export::Export = export::Export::new::<Entry>();
