//! flate2: gzip there and back.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&b"the same again, ".repeat(256))?;
        let packed = packed.finish()?;
        let mut text = String::new();
        GzDecoder::new(&*packed).read_to_string(&mut text)?;
        Ok(Response::text(format!("{} {}\n", packed.len(), text.len())))
    }
}

export_handler!(Plugin, name = "real");
