//! memmap2: a file's pages, mapped in each request and kept over it.

use std::sync::{Mutex, PoisonError};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use memmap2::MmapMut;

struct Plugin {
    kept: Mutex<Option<MmapMut>>,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { kept: Mutex::new(None) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut pages = MmapMut::map_anon(64 << 10)?;
        pages[1000] = 7;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(pages);
        Ok(Response::text("mapped\n"))
    }
}

export_handler!(Plugin, name = "real");
