//! Answers what it was asked, one `name=value` a line.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let mut text = format!(
            "method={}\npath={}\nquery={}\noriginal={}\nhost={}\npeer={}\n",
            request.method(),
            request.path(),
            request.query().unwrap_or("-"),
            request.original_path(),
            request.host().unwrap_or("-"),
            request.peer(),
        );
        for (name, value) in request.headers() {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
        }
        Ok(Response::text(text))
    }
}

export_handler!(Fault);
