//! Has a runtime in a field and no other, and holds a guard of it over an await: what nobody should do.
//! `/` tells whether it runs within a runtime, `/guard` has its body wait with the guard.

use std::future::pending;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::runtime::{Builder, Handle, Runtime};

struct Guards {
    runtime: Runtime,
}

impl Handler for Guards {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { runtime: Builder::new_multi_thread().worker_threads(1).build()? })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() != "/guard" {
            return Ok(Response::text(Handle::try_current().is_ok().to_string()));
        }
        let runtime = self.runtime.handle().clone();
        Ok(Response::streaming(|mut out| async move {
            let _guard = runtime.enter();
            out.send("entered").await;
            pending().await
        }))
    }
}

export_handler!(Guards);
