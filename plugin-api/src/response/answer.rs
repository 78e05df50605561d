//! An answer's way to the host.
//!
//! Owns how a [`Response`] is laid out as [`abi::Answer`]. Knows nothing of how it was built.
//! Invariant: the headers stay in the task, where the host reads them until it drops the future.

use std::{mem::MaybeUninit, ptr};

use http::StatusCode;

use super::{Fields, Payload, Response};
use crate::{
    Result,
    abi::{self, Answer, Headers, Stream, Upgrade, poll},
    owned::OwnedBytes,
    task::Outcome,
};

impl Outcome for Result<Response> {
    type Wire = Answer;
    type Keep = Fields;

    fn settle(self, keep: &mut Fields, out: &mut MaybeUninit<Answer>) -> u32 {
        let response = match self {
            Ok(Response { fault: None, status, fields, payload }) => Ok((status, fields, payload)),
            Ok(Response { fault: Some(error), .. }) | Err(error) => Err(error),
        };
        let answer = match response {
            Ok((status, fields, payload)) => {
                *keep = fields;
                answer(status, keep.lend(), payload)
            }
            Err(error) => {
                let bytes = OwnedBytes::from(error.into_text());
                out.write(answer(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Headers::NONE,
                    Payload::Bytes(bytes),
                ));
                return poll::FAILED;
            }
        };
        out.write(answer);
        poll::READY
    }
}

/// Members that the body's tag does not name are absent values, so that none is uninitialised.
fn answer(status: StatusCode, headers: Headers, payload: Payload) -> Answer {
    let mut answer = Answer {
        status: status.as_u16(),
        body: abi::body::EMPTY,
        reserved: 0,
        more: [0; 2],
        headers,
        bytes: OwnedBytes::EMPTY.into_abi(),
        stream: Stream { data: ptr::null_mut(), vt: ptr::null() },
        upgrade: Upgrade { data: ptr::null_mut(), start: None, drop: None },
    };
    match payload {
        Payload::Empty => {}
        Payload::Bytes(bytes) => {
            answer.body = abi::body::BYTES;
            answer.bytes = bytes.into_abi();
        }
        Payload::Stream(stream) => {
            answer.body = abi::body::STREAM;
            answer.stream = stream.into_abi();
        }
        Payload::Upgrade(upgrade) => {
            answer.body = abi::body::UPGRADE;
            answer.upgrade = upgrade.into_abi();
        }
    }
    answer
}
