//! What to do about an error that keeps a host or a worker from coming up.

use crate::{error::Coded, serve::BindError, state::StateError, sys::process::shortage_of};

/// The hint of whatever in the chain of `error` has one.
#[must_use]
pub fn advice(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(cause) = cause.downcast_ref::<BindError>() {
            return cause.hint();
        }
        if let Some(cause) = cause.downcast_ref::<StateError>() {
            return cause.hint();
        }
        if let Some(errno) = cause.downcast_ref::<rustix::io::Errno>() {
            return crate::sys::process::shortage(*errno);
        }
        shortage_of(cause.downcast_ref::<std::io::Error>()?)
    })
}
