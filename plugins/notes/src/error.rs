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
use serde_json::json;

use crate::database;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{1}")]
    Refused(StatusCode, String),
    #[error("there is no such note")]
    NotFound,
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl Error {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Refused(status, _) => (*status, "refused"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Database(database::Error::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Database(database::Error::Full) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            Self::Database(database::Error::Failed(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
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
