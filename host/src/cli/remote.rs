//! Commands that ask a running host.
//!
//! Owns the way from a command to a request, and from an answer to standard output, standard error
//! and an exit code. The pages themselves are the host's: a client shows what it gets.

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    DONE, FAILED, REFUSED,
    args::{CellsArgs, HistoryArgs, LoadArgs, RemoteArgs, RollbackArgs, UnloadArgs},
    check::{absolute, refusal_object},
    client::{self, Question, Reply},
    complain, say,
    whom::Whom,
};
use crate::{
    config::raw::file::Surroundings,
    error::{Coded, Kind},
    ids::PluginName,
};

/// A path that the host's interface has no way to say.
#[derive(Debug, thiserror::Error)]
#[error("the path is not UTF-8")]
pub(super) struct NotUtf8;

impl Coded for NotUtf8 {
    fn code(&self) -> &'static str {
        "not_utf8"
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("rename the file, or name a copy".to_owned())
    }
}

pub(super) fn load(args: LoadArgs) -> u8 {
    let LoadArgs { path, force, if_generation, remote } = args;
    let path = absolute(path);
    let Some(path) = path.to_str() else {
        return if remote.json {
            say(&refusal_object(&NotUtf8), REFUSED)
        } else {
            complain(&NotUtf8, REFUSED)
        };
    };
    let mut body = json!({ "path": path, "force": force });
    expect(&mut body, if_generation);
    let body = body.to_string();
    ask(&remote, Method::POST, "/v1/deploys".to_owned(), body)
}

pub(super) fn unload(args: UnloadArgs) -> u8 {
    let UnloadArgs { name, if_generation, remote } = args;
    let query = if_generation.map_or_else(String::new, |it| format!("?if_generation={it}"));
    ask(&remote, Method::DELETE, format!("/v1/plugins/{name}{query}"), String::new())
}

pub(super) fn status(remote: &RemoteArgs) -> u8 {
    ask(remote, Method::GET, "/v1/status".to_owned(), String::new())
}

pub(super) fn history(args: HistoryArgs) -> u8 {
    let HistoryArgs { limit, remote } = args;
    ask(&remote, Method::GET, format!("/v1/history?limit={limit}"), String::new())
}

pub(super) fn cells(args: CellsArgs) -> u8 {
    let CellsArgs { plugin, key, remove, remote } = args;
    let parts = plugin.iter().map(|it| it.as_str().to_owned()).chain(key.map(|key| encoded(&key)));
    let path = parts.fold("/v1/cells".to_owned(), |path, part| path + "/" + &part);
    let method = if remove { Method::DELETE } else { Method::GET };
    ask(&remote, method, path, String::new())
}

/// A text as one step of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let step = |byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(step).collect()
}

pub(super) fn rollback(args: RollbackArgs) -> u8 {
    let RollbackArgs { name, to, if_generation, remote } = args;
    let plugin = name.as_ref().map(PluginName::as_str);
    let mut body = json!({ "plugin": plugin, "to": to });
    expect(&mut body, if_generation);
    ask(&remote, Method::POST, "/v1/rollback".to_owned(), body.to_string())
}

pub(super) fn reload_config(remote: &RemoteArgs) -> u8 {
    ask(remote, Method::POST, "/v1/reload-config".to_owned(), String::new())
}

/// Says a condition in the body, where a host that does not know it refuses the order instead of
/// carrying it out without. Without one nothing is said, so that such a host takes the order.
fn expect(body: &mut serde_json::Value, if_generation: Option<u64>) {
    if let Some(generation) = if_generation {
        body["if_generation"] = generation.into();
    }
}

/// Asks, shows, and ends as the status says.
fn ask(remote: &RemoteArgs, method: Method, path: String, body: String) -> u8 {
    let question = Question { method, path, body, json: remote.json };
    find(remote).map_or_else(|exit| exit, |whom| ask_and(&whom, question, exit_of))
}

/// Which host is asked; else how the command ends, which is told.
pub(super) fn find(remote: &RemoteArgs) -> Result<Whom, u8> {
    Whom::of(remote, &Surroundings::of_this_process()).map_err(|error| {
        let exit = error.exit();
        if remote.json { say(&refusal_object(&error), exit) } else { complain(&error, exit) }
    })
}

/// Asks and shows; `exit` says how an answer ends the command.
pub(super) fn ask_and(whom: &Whom, question: Question, exit: impl FnOnce(&Reply) -> u8) -> u8 {
    let json = question.json;
    match client::ask(whom, question) {
        Ok(reply) if json || reply.status.is_success() => say(&reply.body, exit(&reply)),
        Ok(reply) => {
            super::tell(&reply.body);
            exit(&reply)
        }
        Err(error) => failed(&error, json),
    }
}

/// There was no answer.
pub(super) fn failed(error: &client::ClientError, json: bool) -> u8 {
    if json { say(&refusal_object(error), FAILED) } else { complain(error, FAILED) }
}

/// A refusal is a 4xx; a queue that is full is no refusal of what was asked.
pub(super) fn exit_of(reply: &Reply) -> u8 {
    let status = reply.status;
    if status.is_success() {
        DONE
    } else if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        REFUSED
    } else {
        FAILED
    }
}

#[cfg(test)]
pub(super) mod tests;
