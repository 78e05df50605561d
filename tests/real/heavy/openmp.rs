//! OpenMP in C (libgomp): a parallel loop in each request.
//! Note: libgomp keeps its helpers for more work, for as long as the threads that they help. They count
//! as those of the version that has had them started, which stays; later ones find them there.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

#[link(name = "sums", kind = "static")]
#[link(name = "gomp")]
unsafe extern "C" {
    fn sum_in_parallel(count: i64) -> i64;
}

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        // SAFETY: takes a number and gives one.
        let sum = unsafe { sum_in_parallel(10_000) };
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
