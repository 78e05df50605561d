//! rayon: its global pool.
//! Note: the pool's threads never end.
//! Recipe: build a `ThreadPool` and keep it in the handler.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let sum: u64 = (0..1000_u64).into_par_iter().map(|n| n * n).sum();
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
