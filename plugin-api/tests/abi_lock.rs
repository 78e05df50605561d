//! The golden fingerprint of the ABI, `abi.lock`.
//!
//! Owns the list of every type that crosses, with size, alignment and each field's offset and
//! type. Knows nothing of what they mean.
//! Invariant: a change of anything here is a change of [`ABI_MAJOR`] or [`ABI_MINOR`], or it is a
//! mistake. `UPDATE=1 cargo test -p hotseat-plugin-api --test abi_lock` writes the file anew.

use std::{any::type_name, env, fmt::Write, fs, mem::offset_of, path::Path};

use hotseat_plugin_api::abi::{
    ABI_MAJOR, ABI_MINOR, Address, Answer, BodyVt, Bytes, Created, Done, Field, Frame, Future,
    Growing, Header, Headers, HeadersVt, HostVt, InstanceVt, Io, IoVt, Job, KNOWN_FEATURES,
    LogRecord, LogSpan, NewArgs, RequestHead, RequestVt, StateBlob, Str, Stream, StreamVt, Upgrade,
    Waker, WakerVt, body,
    cell::{self, CellValue},
    drain, field,
    heap::{self, CHUNK, Cell, Figures},
    level, metric, new_flags, poll, root, signal, signal_phase, spawn, target,
    topic::{self, Message, Subscription, SubscriptionVt},
};
use hotseat_plugin_api::abi::{IO_PENDING, NO_DEADLINE, UNKNOWN_LEN};

fn type_of<S, F>(_: fn(&S) -> &F) -> String {
    // In which file of ours a type stands is nobody's business.
    let files = ["hotseat_plugin_api::abi::", "cell::", "log::", "topic::"];
    files.iter().fold(type_name::<F>().to_owned(), |name, file| name.replace(file, ""))
}

/// Describes types; naming every field is checked by the compiler.
macro_rules! layouts {
    ($out:expr; $($name:ident $(<$arg:ty>)? { $($field:ident),+ $(,)? })+) => {$(
        {
            type It = $name $(<$arg>)?;
            let _complete = |it: It| { let $name { $($field: _),+ } = it; };
            let (size, align) = (size_of::<It>(), align_of::<It>());
            writeln!($out, "{} size {size} align {align}", stringify!($name)).expect("a string");
            $(writeln!(
                $out, "  {} +{}: {}",
                stringify!($field), offset_of!(It, $field), type_of(|it: &It| &it.$field),
            ).expect("a string");)+
        }
    )+};
}

macro_rules! constants {
    ($out:expr; $($path:path),+ $(,)?) => {
        $(writeln!($out, "{} = {}", stringify!($path), $path).expect("a string");)+
    };
}

fn fingerprint() -> String {
    let mut out = format!("abi {ABI_MAJOR}.{ABI_MINOR}\n");
    fixed(&mut out);
    growing(&mut out);
    constants!(out;
        KNOWN_FEATURES, UNKNOWN_LEN, IO_PENDING, CHUNK,
        poll::READY, poll::PENDING, poll::FAILED, poll::PANICKED, poll::END,
        body::EMPTY, body::BYTES, body::STREAM, body::UPGRADE,
        level::ERROR, level::WARN, level::INFO, level::DEBUG, level::TRACE,
        metric::COUNTER, metric::GAUGE, metric::HISTOGRAM,
        new_flags::PREFLIGHT, drain::REQUESTED, drain::LAST_CALL,
        signal::HUP, signal::USR1, signal::USR2, signal::INT, signal::TERM, signal::QUIT,
        signal::TSTP, signal_phase::PRE, signal_phase::POST,
        NO_DEADLINE, spawn::HERE, spawn::ACCEPTED, spawn::FULL, spawn::ENDED,
        topic::NAME_BYTES, topic::CAPACITY, topic::TOO_LONG,
        topic::DONE, topic::FULL, topic::ENDED, topic::BAD_NAME,
        cell::GET, cell::SET_IF, cell::REMOVE_IF, cell::SET, cell::REMOVE, cell::LIST,
        cell::DONE, cell::CONFLICT, cell::FULL, cell::FAILED, cell::TOO_LONG, cell::BAD_KEY,
        target::ORIGIN, target::ABSOLUTE,
        field::TEXT, field::I64, field::U64, field::F64, field::BOOL,
    );
    let symbol = String::from_utf8_lossy(root::ROOT_SYMBOL);
    writeln!(out, "heap symbol {}", heap::SYMBOL.to_string_lossy()).expect("a string");
    writeln!(out, "root symbol {}", symbol.trim_end_matches('\0')).expect("a string");
    out
}

fn fixed(out: &mut String) {
    type Root = root::Root;
    layouts! { out;
        Str { ptr, len }
        Bytes { ptr, len, owner, drop }
        Header { name, value }
        Headers { data, vt }
        HeadersVt { size, count, get, fill, drop }
        Waker { data, aux, vt }
        WakerVt { size, clone, wake_by_ref, drop }
        Future<Answer> { data, poll, drop }
        Done { error }
        Frame { data, trailers }
        Stream { data, vt }
        StreamVt { size, poll_next, len, drop }
        BodyVt { size, poll_next, len, drop, any_thread }
        Address { version, port, scope, bytes }
        Io { data, vt }
        IoVt { size, read, write, flush, shutdown, drop }
        Upgrade { data, start, drop }
        Answer { status, body, reserved, headers, bytes, stream, upgrade, more }
        Growing<RequestHead> { ptr }
        Job { data, run, drop }
        Created { instance, error }
        StateBlob { bytes }
        CellValue { version, bytes }
        Message { missed, bytes }
        Subscription { data, vt }
        LogSpan { name, fields, fields_count }
        Field { name, kind, bits, text }
        Root { abi_major, abi_minor, reserved, requires, manifest, new, call, instance, shapes }
    }
}

fn growing(out: &mut String) {
    layouts! { out;
        RequestHead {
            size, version, id, method, path, query, original_path, host, peer, headers, data, vt,
            authority, scheme, peer_address, target,
        }
        RequestVt { size, take_body, body_len, deadline, client_gone }
        HostVt {
            size, log, log_enabled, metric, panicked, sleep, blocking, log_enabled_for, log_record,
            spawn, cell, publish, subscribe, blocking_call,
        }
        SubscriptionVt { size, poll_next, drop }
        LogRecord {
            size, level, request, target, message, fields, fields_count, spans, spans_count,
        }
        NewArgs { size, flags, host, host_vt, name, label, generation, config, config_places }
        Figures { size, count, cells }
        Cell { taken, given }
        InstanceVt {
            size, state_schema, self_test, drain_notice, stop, drop, ready, quiesce, resume,
            export_state, import_state, signal,
        }
    }
}

#[test]
fn abi_is_what_the_lock_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("abi.lock");
    let now = fingerprint();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &now).expect("abi.lock can be written");
        return;
    }
    let locked = fs::read_to_string(&path).expect("abi.lock can be read");
    if locked == now {
        return;
    }
    let changed = now.lines().zip(locked.lines()).find(|(now, locked)| now != locked);
    let (now_line, locked_line) = changed.unwrap_or(("its length", "another"));
    panic!(
        "the ABI differs from abi.lock: `{now_line}` was `{locked_line}`\n\
         a change that old plugins or hosts cannot live with needs another ABI_MAJOR, an added \
         field of a growing struct another ABI_MINOR; then write the lock anew with UPDATE=1"
    );
}
