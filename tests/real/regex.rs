//! regex: patterns compiled once, in a static.

use std::sync::LazyLock;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use regex::Regex;

static WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(\w+)-(\d{1,3})\b").expect("a pattern that parses"));
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^/(?<first>[^/?]*)").expect("a pattern that parses"));

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let words = WORDS.captures_iter("alpha-1 beta-22 gamma delta-333").count();
        let first = PATH.captures(request.path()).map_or(0, |it| it["first"].len());
        Ok(Response::text(format!("{words} {first}\n")))
    }
}

export_handler!(Plugin, name = "real");
