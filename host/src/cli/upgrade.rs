//! Commands about the host itself: `upgrade` and `lame-duck`.
//!
//! Owns what they send and how they end. What an upgrade says is the host's; a client shows it.

use std::path::PathBuf;

use http::Method;
use serde_json::json;

use super::{
    DONE, FAILED, USAGE,
    args::{LameDuckArgs, Switch, Until, UpgradeArgs},
    check::{absolute, refusal_object},
    client::{self, Question, Reply},
    complain, explain,
    remote::{NotUtf8, ask_and, exit_of, failed, find},
    say,
};
use crate::{status::Stage, upgrade::Verdict};

/// How an upgrade that did not work ends the command; the control plane's code names the verdict.
fn upgrade_exit(reply: &Reply) -> u8 {
    let word = reply.code.as_deref().and_then(|code| code.strip_prefix("upgrade_"));
    let verdict = word.and_then(Verdict::from_word);
    verdict.map_or_else(|| exit_of(reply), Verdict::exit_code)
}

pub(super) fn upgrade(args: UpgradeArgs) -> u8 {
    let UpgradeArgs { binary, config, wait, remote } = args;
    let text = |path: Option<PathBuf>| match path {
        None => Ok(None),
        Some(path) => absolute(path).into_os_string().into_string().map(Some).map_err(|_| NotUtf8),
    };
    let (binary, config) = match text(binary).and_then(|binary| Ok((binary, text(config)?))) {
        Ok(paths) => paths,
        Err(error) if remote.json => return say(&refusal_object(&error), USAGE),
        Err(error) => return complain(&error, USAGE),
    };
    let wait = match wait {
        None => "no",
        Some(Until::Ready) => "ready",
        Some(Until::Commit) => "commit",
    };
    let body = json!({ "binary": binary, "config": config, "wait": wait }).to_string();
    let (method, path) = (Method::POST, "/v1/upgrade".to_owned());
    let question = Question { method, path, body, json: remote.json };
    find(&remote).map_or_else(|exit| exit, |whom| ask_and(&whom, question, upgrade_exit))
}

pub(super) fn lame_duck(args: LameDuckArgs) -> u8 {
    let LameDuckArgs { switch, wait, remote } = args;
    let on = switch == Switch::On;
    let whom = match find(&remote) {
        Ok(whom) => whom,
        Err(exit) => return exit,
    };
    let body = json!({ "on": on }).to_string();
    let (method, path) = (Method::POST, "/v1/lame-duck".to_owned());
    let exit = ask_and(&whom, Question { method, path, body, json: remote.json }, exit_of);
    if !wait || exit != DONE {
        return exit;
    }
    match client::until(&whom, "/readyz", |reply| is_lame_duck(reply) == Some(on)) {
        Ok(true) => DONE,
        Ok(false) => {
            explain("`/readyz` does not say so yet", Some("see `hotseat status`"));
            FAILED
        }
        Err(error) => failed(&error, false),
    }
}

/// What the object of `/readyz` says. Whether it says yes may depend on more than the switch.
fn is_lame_duck(reply: &Reply) -> Option<bool> {
    let page: serde_json::Value = serde_json::from_str(&reply.body).ok()?;
    Some(page["stage"].as_str()? == Stage::LameDuck.as_str())
}

#[cfg(test)]
mod tests;
