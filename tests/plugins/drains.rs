//! An endless stream that ends properly when its generation is told to go.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Drains {
    context: Context,
}

impl Handler for Drains {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let context = self.context.clone();
        Ok(Response::streaming(move |mut out| async move {
            out.send("begun;").await;
            while context.until_drain(context.sleep(Duration::from_secs(3600))).await.is_some() {}
            out.send("ended;").await;
            Ok(())
        }))
    }
}

export_handler!(Drains);
