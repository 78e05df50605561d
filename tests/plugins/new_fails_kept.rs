//! In the serving process `new` starts a thread that goes on until the file `until` of the configuration
//! is there, and then fails. As `.panics` it panics; as `.late` it is made, but takes its time.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        if context.is_preflight() {
            return Ok(Self);
        }
        // `{"until":"/x"}`
        let until = context.config().and_then(|it| it.split('"').nth(3)).map(PathBuf::from);
        let until = until.ok_or_else(|| Error::new("no file is named"))?;
        let wait = move || {
            while !until.exists() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        };
        std::thread::Builder::new().name("kept".to_owned()).spawn(wait)?;
        match context.label().rsplit('.').next() {
            Some("panics") => panic!("it was asked to"),
            Some("late") => {
                let end = Instant::now() + Duration::from_secs(2);
                while let Some(rest) = end.checked_duration_since(Instant::now()) {
                    std::thread::park_timeout(rest);
                }
                Ok(Self)
            }
            _ => Err(Error::new("not in this house")),
        }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
