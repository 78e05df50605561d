//! What plugins with an allocator of their own have in common: something to allocate for.
//!
//! Both allocators come with their default features, in which each load takes some of the loader's
//! fixed area for thread-locals. They take a C compiler and a minute to build, so only `make soak`
//! builds them.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result};

/// Allocates blocks of all sizes for each request.
#[derive(Debug)]
pub struct Allocates;

impl Handler for Allocates {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        request.body().bytes(64 << 10).await?;
        let blocks: Vec<Vec<u8>> = (1..16).map(|power| vec![1; 1 << power]).collect();
        Ok(Response::text(format!("{}\n", blocks.iter().map(Vec::len).sum::<usize>())))
    }
}
