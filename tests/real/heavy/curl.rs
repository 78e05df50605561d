//! curl with libcurl in C: a handle in each request, on the host's pool, asking where nobody listens.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Plugin {
    context: Context,
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        curl::init();
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let read = self.context.blocking(|| {
            let mut easy = curl::easy::Easy::new();
            easy.url("http://127.0.0.1:1/")?;
            // Nobody listens there: the whole way there and the error back.
            Ok::<_, curl::Error>(easy.perform().is_err_and(|error| error.is_couldnt_connect()))
        });
        let refused = read.await??;
        if refused {
            Ok(Response::text("refused, as it should\n"))
        } else {
            Err(Error::new("heard"))
        }
    }
}

export_handler!(Plugin, name = "real");
