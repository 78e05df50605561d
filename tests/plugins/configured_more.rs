//! The next version of `configured`: it needs a setting that the one before denies.
//!
//! It answers with both of them, and ends the process below `/abort`.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    room: String,
    colour: String,
}

struct Configured(Settings);

impl Handler for Configured {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self(context.config_as()?))
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/abort" {
            std::process::abort();
        }
        let Settings { room, colour } = &self.0;
        Ok(Response::text(format!("{colour} {room}")))
    }
}

export_handler!(Configured);
