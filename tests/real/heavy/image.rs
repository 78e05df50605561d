//! image: a PNG there and back.

use std::io::Cursor;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use image::{ImageFormat, RgbImage};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut file = Cursor::new(Vec::new());
        RgbImage::new(64, 64).write_to(&mut file, ImageFormat::Png)?;
        let read = image::load_from_memory(file.get_ref())?;
        Ok(Response::text(format!("{} {}\n", read.width(), file.get_ref().len())))
    }
}

export_handler!(Plugin, name = "real");
