//! Commands that ask a running host.
//!
//! Owns the way from a command to a request, and from an answer to standard output, standard error
//! and an exit code. The pages themselves are the host's: a client shows what it gets.

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    DONE, FAILED, REFUSED,
    args::{HistoryArgs, LoadArgs, RemoteArgs, RollbackArgs, UnloadArgs},
    check::{absolute, refusal_object},
    client::{self, Question, Reply},
    complain, say,
};
use crate::{
    config::raw::address::ListenAt,
    error::{Coded, Kind},
    ids::PluginName,
};

/// A path that the host's interface has no way to say.
#[derive(Debug, thiserror::Error)]
#[error("the path is not UTF-8")]
struct NotUtf8;

impl Coded for NotUtf8 {
    fn code(&self) -> &'static str {
        "not_utf8"
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("rename the file, or load a copy".to_owned())
    }
}

pub(super) fn load(args: LoadArgs) -> u8 {
    let LoadArgs { path, force, remote } = args;
    let path = absolute(path);
    let Some(path) = path.to_str() else {
        return if remote.json {
            say(&refusal_object(&NotUtf8), REFUSED)
        } else {
            complain(&NotUtf8, REFUSED)
        };
    };
    let body = json!({ "path": path, "force": force }).to_string();
    ask(remote, Method::POST, "/v1/deploys".to_owned(), body)
}

pub(super) fn unload(args: UnloadArgs) -> u8 {
    let UnloadArgs { name, remote } = args;
    ask(remote, Method::DELETE, format!("/v1/plugins/{name}"), String::new())
}

pub(super) fn status(remote: RemoteArgs) -> u8 {
    ask(remote, Method::GET, "/v1/status".to_owned(), String::new())
}

pub(super) fn history(args: HistoryArgs) -> u8 {
    let HistoryArgs { limit, remote } = args;
    ask(remote, Method::GET, format!("/v1/history?limit={limit}"), String::new())
}

pub(super) fn rollback(args: RollbackArgs) -> u8 {
    let RollbackArgs { name, to, remote } = args;
    let plugin = name.as_ref().map(PluginName::as_str);
    let body = json!({ "plugin": plugin, "to": to }).to_string();
    ask(remote, Method::POST, "/v1/rollback".to_owned(), body)
}

fn ask(remote: RemoteArgs, method: Method, path: String, body: String) -> u8 {
    let RemoteArgs { control, json } = remote;
    let Some(ListenAt(at)) = control.into_iter().next() else {
        // Clap's default makes the list one long; an empty one means nobody to ask.
        return FAILED;
    };
    match client::ask(&at, Question { method, path, body, json }) {
        Ok(Reply { status, body }) if json => say(&body, exit_of(status)),
        Ok(Reply { status, body }) if status.is_success() => say(&body, DONE),
        Ok(Reply { status, body }) => {
            super::tell(&body);
            exit_of(status)
        }
        Err(error) if json => say(&refusal_object(&error), FAILED),
        Err(error) => complain(&error, FAILED),
    }
}

/// A refusal is a 4xx; a queue that is full is no refusal of what was asked.
fn exit_of(status: StatusCode) -> u8 {
    if status.is_success() {
        DONE
    } else if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        REFUSED
    } else {
        FAILED
    }
}

#[cfg(test)]
mod tests;
