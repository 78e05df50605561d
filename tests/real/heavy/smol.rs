//! smol: its global executor and its reactor.
//! Note: their threads never end.
//! Recipe: run an `Executor` of your own on threads that the handler joins, and wait for timers and
//! sockets with `Context` or with a tokio runtime kept as a field: the reactor's thread (async-io)
//! cannot be ended.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let task = smol::spawn(async {
            // The reactor's timer is part of what is tried; nothing is waited for.
            smol::Timer::after(Duration::from_millis(1)).await;
            41 + 1
        });
        Ok(Response::text(format!("{}\n", task.await)))
    }
}

export_handler!(Plugin, name = "real");
