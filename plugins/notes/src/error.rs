//! What a request can fail with, and what its client is told.
//!
//! Clients are told what they can change or try again; everything else is a line in the host's log, with
//! the number of the request.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use hotseat_plugin_api::BlockingError;
use rusqlite::ErrorCode;
use serde_json::json;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{1}")]
    Refused(StatusCode, String),
    #[error("there is no such note")]
    NotFound,
    #[error("the database is in use; try again")]
    Busy,
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    #[error(transparent)]
    Database(rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Refused(status, _) => (*status, "refused"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Blocking(BlockingError::Full) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let message = match status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(error = %self, "a request failed");
                "the notes cannot be reached".to_owned()
            }
            _ => self.to_string(),
        };
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A lock that somebody else holds too long is no fault of the plugin's.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Database(error),
        }
    }
}

/// Axum's extractors say in plain text what they do not take; as this error it is JSON.
macro_rules! refused_by {
    ($($rejection:ty),*) => {
        $(impl From<$rejection> for Error {
            fn from(it: $rejection) -> Self {
                Self::Refused(it.status(), it.body_text())
            }
        })*
    };
}

refused_by!(JsonRejection, PathRejection, QueryRejection);
