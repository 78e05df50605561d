//! log and env_logger: the global logger, into a buffer of its own.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let target = env_logger::Target::Pipe(Box::new(std::io::sink()));
        env_logger::Builder::new()
            .filter_level(log::LevelFilter::Info)
            .target(target)
            .try_init()?;
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        log::info!("asked for {}", request.path());
        log::warn!("nobody reads this");
        Ok(Response::text("logged\n"))
    }
}

export_handler!(Plugin, name = "real");
