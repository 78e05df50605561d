//! What to do about an error that keeps a host or a worker from coming up.

use crate::{
    error::Coded,
    serve::BindError,
    state::{ManifestError, StateError},
    sys::{path::PathError, process::shortage_of},
};

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
        if let Some(cause) = cause.downcast_ref::<ManifestError>() {
            return cause.hint();
        }
        if let Some(cause) = cause.downcast_ref::<PathError>() {
            return cause.hint();
        }
        if let Some(errno) = cause.downcast_ref::<rustix::io::Errno>() {
            return crate::sys::process::shortage(*errno);
        }
        shortage_of(cause.downcast_ref::<std::io::Error>()?)
    })
}

/// What failed, then why, in one line. A cause that the text before it has said is not said again.
#[must_use]
pub fn whole(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        before if before.ends_with(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context as _;

    use super::*;
    use crate::state::StateDir;

    #[test]
    fn each_cause_is_said_once() {
        let error = anyhow::Error::from(StateDir::open(Path::new("/dev/null")).unwrap_err());
        let hint = advice(&error).unwrap();
        assert!(!hint.contains("move"), "it is a device: {hint}");
        let text = whole(&error.context("begin"));
        assert_eq!(text, "begin: cannot use `/dev/null`: not a directory");
        let read = std::fs::read("/nowhere").context("read it");
        assert_eq!(whole(&read.unwrap_err()), "read it: No such file or directory (os error 2)");
    }
}
