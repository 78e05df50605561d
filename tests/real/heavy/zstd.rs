//! zstd in C: there and back.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let packed = zstd::encode_all(&*b"the same again, ".repeat(256), 3)?;
        let text = zstd::decode_all(&*packed)?;
        Ok(Response::text(format!("{} {}\n", packed.len(), text.len())))
    }
}

export_handler!(Plugin, name = "real");
