//! jemalloc: the plugin's allocator, with its default features.
//! Note: the loader's fixed area for thread-locals is full after a few loads.
//! Recipe: its feature `disable_initial_exec_tls` (which leaves memory with each load), or
//! `recycle = "auto"` in the host's settings; best none: `export_handler!` brings an allocator whose
//! memory comes back.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let sizes = (1..12).map(|power| vec![0_u8; 1 << power]).map(|it| it.len());
        Ok(Response::text(format!("{}\n", sizes.sum::<usize>())))
    }
}

export_handler!(Plugin, name = "real", allocator = none);
