//! Answers 101, but blocks its thread before, until the test's socket (`?gate=SOCKET`) gives a
//! byte: whatever happens to the connection meanwhile is found out only when the 101 is written.

use std::{io::Read as _, os::unix::net::UnixStream};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct UpgradesLate;

impl Handler for UpgradesLate {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let socket = request.query().and_then(|query| query.strip_prefix("gate="));
        let Some(socket) = socket else { return Ok(Response::text("ready")) };
        UnixStream::connect(socket)?.read_exact(&mut [0])?;
        Ok(Response::upgrade("nothing", |_| async { Ok(()) }))
    }
}

export_handler!(UpgradesLate);
