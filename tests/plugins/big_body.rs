//! Answers `?kib=COUNT` KiB in pieces, each full of one letter, and as many at once as are asked
//! for.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct BigBody;

impl Handler for BigBody {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let count = request.query().and_then(|query| query.strip_prefix("kib="));
        let count: u32 = count.and_then(|text| text.parse().ok()).unwrap_or(1024);
        Ok(Response::streaming(move |mut out| async move {
            for _ in 0..count {
                out.send(vec![b'x'; 1024]).await;
            }
            Ok(())
        }))
    }
}

export_handler!(BigBody);
