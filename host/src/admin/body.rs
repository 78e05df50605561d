//! What an order's body says.
//!
//! Owns the reading of bodies, their bounds, and the rules for a posted path: raw bytes exactly as
//! `curl -d` sends them, never form-decoded. Knows nothing of what becomes of the path.

use std::{path::PathBuf, time::Duration};

use axum::{body::Body, http::StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::error::{Coded, Kind};

/// The kernel's own bound (`PATH_MAX`). Units: bytes.
const PATH_BYTES: usize = 4096;
/// A path in JSON, every byte escaped, and the keys around it. Units: bytes.
const OBJECT_BYTES: usize = 6 * PATH_BYTES + 1024;
/// An order is a line: a client that needs longer than this has stopped.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a body that is too large goes on being read and thrown away, so that the client comes
/// to read the answer instead of a reset.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How every ELF file begins.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// A body that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("there is no path in the request")]
    NoPath,
    #[error("the request has several lines, and a path is one")]
    SeveralLines,
    #[error("the path has a NUL byte in it")]
    Nul,
    #[error("the path is not UTF-8")]
    NotUtf8,
    #[error("the request is a library itself, and not the path of one")]
    LibraryAsBody,
    #[error("the request is longer than a path can be ({PATH_BYTES} bytes)")]
    TooLarge,
}

impl Coded for PathError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoPath => "no_path",
            Self::SeveralLines => "several_lines",
            Self::Nul => "nul_in_path",
            Self::NotUtf8 => "not_utf8",
            Self::LibraryAsBody => "library_as_body",
            Self::TooLarge => "body_too_large",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge => Kind::TooLarge,
            Self::NoPath | Self::SeveralLines | Self::Nul | Self::NotUtf8 | Self::LibraryAsBody => {
                Kind::Input
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoPath | Self::TooLarge => {
                "send the path of a library as the body: `curl … -d ./libhandler_v2.so`"
            }
            Self::SeveralLines => "send one request for each library",
            Self::Nul | Self::NotUtf8 => "rename the file, or post the path of a copy",
            Self::LibraryAsBody => {
                "send the path, without `@`: `curl … -d ./lib.so`; the host reads the file itself"
            }
        };
        Some(hint.to_owned())
    }
}

/// The bytes of a path, as posted or as found in JSON. `/proc/self/exe` and the like are paths
/// like any other; what is at them is looked at later.
pub(super) fn path_of(bytes: &[u8]) -> Result<PathBuf, PathError> {
    if bytes.starts_with(ELF_MAGIC) {
        return Err(PathError::LibraryAsBody);
    }
    if bytes.len() > PATH_BYTES {
        return Err(PathError::TooLarge);
    }
    if bytes.is_empty() {
        return Err(PathError::NoPath);
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    if bytes.contains(&b'\n') {
        return Err(PathError::SeveralLines);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?;
    Ok(PathBuf::from(text))
}

/// A posted path: one newline at its end is the shell's, not the file's.
fn posted_path(bytes: &[u8]) -> Result<PathBuf, PathError> {
    let line = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n"));
    path_of(line.unwrap_or(bytes))
}

/// Reads the path that is the whole body.
pub(super) async fn read_path(body: Body) -> Result<PathBuf, Fault> {
    let bytes = read(body, PATH_BYTES + b"\r\n".len()).await?;
    posted_path(&bytes).map_err(|error| Fault::of(&error))
}

/// Reads a JSON object. An empty body is an empty object.
pub(super) async fn read_object<T: DeserializeOwned>(body: Body) -> Result<T, Fault> {
    let bytes = read(body, OBJECT_BYTES).await?;
    if bytes.len() > OBJECT_BYTES {
        let message = format!("the request is longer than {OBJECT_BYTES} bytes");
        let hint = "an order is a small JSON object";
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message, hint));
    }
    let text = if bytes.trim_ascii().is_empty() { b"{}".as_slice() } else { &bytes };
    serde_json::from_slice(text).map_err(|error| {
        let message = format!("the body is not the JSON object that is wanted: {error}");
        Fault::new(
            StatusCode::BAD_REQUEST,
            "bad_json",
            message,
            r#"`/v1/deploys` takes {"path": "…", "force": false, "if_generation": 2}, `/v1/rollback` {"plugin": "…", "to": 3, "if_generation": 7}, `/v1/upgrade` {"binary": "…", "config": "…", "wait": "commit"}, `/v1/lame-duck` {"on": true}"#,
        )
    })
}

/// At most one frame more than `limit` bytes: who finds more than `limit` knows that it was too
/// much.
async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Fault> {
    let broken = |status, message: &str| {
        Fault::new(status, "body_broken", message, "send the whole body at once")
    };
    let mut bytes = Vec::new();
    let whole = tokio::time::timeout(BODY_TIME, async {
        while bytes.len() <= limit {
            let Some(frame) = body.frame().await else { return Ok(()) };
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok::<_, axum::Error>(())
    });
    match whole.await {
        Err(_) => return Err(broken(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        Ok(Err(_)) => return Err(broken(StatusCode::BAD_REQUEST, "the body ended too early")),
        Ok(Ok(())) => {}
    }
    if bytes.len() > limit {
        // Whether the rest comes, or in time, changes nothing about the answer.
        let _ = tokio::time::timeout(DRAIN_TIME, async {
            while let Some(Ok(_)) = body.frame().await {}
        })
        .await;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is() {
        for text in ["./a b+c%20d.so", "../x", "/abs/ä.so", " ", "a=b&c"] {
            assert_eq!(posted_path(text.as_bytes()), Ok(PathBuf::from(text)));
            assert_eq!(posted_path(format!("{text}\n").as_bytes()), Ok(PathBuf::from(text)));
            assert_eq!(posted_path(format!("{text}\r\n").as_bytes()), Ok(PathBuf::from(text)));
        }
    }

    #[test]
    fn what_is_no_path_has_its_own_refusal() {
        for (bytes, error) in [
            (&b""[..], PathError::NoPath),
            (b"\n", PathError::NoPath),
            (b"a\n\n", PathError::SeveralLines),
            (b"a\nb", PathError::SeveralLines),
            (b"a\0b", PathError::Nul),
            (b"a\xff", PathError::NotUtf8),
            (b"\x7fELF\x02\0\n", PathError::LibraryAsBody),
        ] {
            assert_eq!(posted_path(bytes), Err(error));
        }
        let longest = "a".repeat(PATH_BYTES);
        assert!(posted_path(longest.as_bytes()).is_ok());
        assert!(posted_path(format!("{longest}\n").as_bytes()).is_ok());
        assert_eq!(posted_path(format!("{longest}a").as_bytes()), Err(PathError::TooLarge));
    }
}
