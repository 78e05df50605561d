//! hickory-resolver: a resolver on a runtime kept as a field, which knows localhost by itself.

use hickory_resolver::{Resolver, TokioResolver, config::ResolverConfig};
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::runtime;

struct Plugin {
    resolver: TokioResolver,
    runtime: runtime::Runtime,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let resolver = Resolver::builder_with_config(
            ResolverConfig::default(),
            hickory_resolver::name_server::TokioConnectionProvider::default(),
        )
        .build();
        Ok(Self { resolver, runtime })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let resolver = self.resolver.clone();
        let found = self.runtime.spawn(async move { resolver.lookup_ip("localhost.").await });
        Ok(Response::text(format!("{}\n", found.await??.iter().count())))
    }
}

export_handler!(Plugin, name = "real");
