//! chrono: local times; the zone is cached in each thread.

use chrono::{DateTime, Duration, Local};
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let now = Local::now() + Duration::days(40);
        let parsed = DateTime::parse_from_rfc3339("2026-11-26T18:00:00+01:00")?;
        Ok(Response::text(format!("{} {}\n", now.format("%a %d %b %H:%M %Z"), parsed.timestamp())))
    }
}

export_handler!(Plugin, name = "real");
