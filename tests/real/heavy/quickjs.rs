//! rquickjs with QuickJS in C: a runtime in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let runtime = rquickjs::Runtime::new()?;
        let inside = rquickjs::Context::full(&runtime)?;
        let sum: i32 =
            inside.with(|it| it.eval("[1, 2, 3].map(n => n * n).reduce((a, b) => a + b)"))?;
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
