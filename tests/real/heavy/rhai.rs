//! rhai: scripts, with an engine as a field.

use std::sync::Mutex;

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use rhai::Engine;

struct Plugin {
    engine: Mutex<Engine>,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { engine: Mutex::new(Engine::new()) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let engine = self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sum = engine.eval::<i64>("let s = 0; for i in 0..100 { s += i; } s");
        Ok(Response::text(format!("{}\n", sum.map_err(|error| Error::new(error.to_string()))?)))
    }
}

export_handler!(Plugin, name = "real");
