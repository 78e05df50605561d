//! Serves by settings of its own, as a type: what `config_as` makes of the table `[plugin.NAME]`.
//!
//! It answers with all of them. With `login = true` it fails with an error that has the password in it.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    room: String,
    #[serde(default)]
    db: Db,
    #[serde(default)]
    login: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Db {
    pool: Vec<u8>,
    password: String,
}

struct Configured {
    settings: Settings,
    generation: u64,
}

impl Handler for Configured {
    fn new(context: &Context) -> Result<Self> {
        let settings: Settings = context.config_as()?;
        if settings.login {
            let password = &settings.db.password;
            return Err(Error::new(format_args!("nobody logs in with {password} or {password:?}")));
        }
        Ok(Self { settings, generation: context.generation() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let Settings { room, db: Db { pool, password }, .. } = &self.settings;
        Ok(Response::text(format!("{room} {pool:?} {password}"))
            .with_header("x-generation", self.generation.to_string()))
    }
}

export_handler!(Configured);
