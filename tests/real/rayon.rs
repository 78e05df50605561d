//! rayon: a pool kept as a field.
//! Recipe: keep a `ThreadPool` in the handler; the global pool's threads never end.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

struct Plugin {
    pool: rayon::ThreadPool,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { pool: rayon::ThreadPoolBuilder::new().num_threads(2).build()? })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let sum: u64 = self.pool.install(|| (0..1000_u64).into_par_iter().map(|n| n * n).sum());
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
