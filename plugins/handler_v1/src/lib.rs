//! A greeting that tells which version gave it.
//!
//! `curl localhost:8080` asks for it; `curl 'localhost:8080/?sleep=20'` gets it 20 seconds
//! later, which leaves time to swap versions while a request is on its way.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Greeting;

impl Handler for Greeting {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if let Some(wish) = request.query_value("sleep") {
            let seconds = wish.parse().ok();
            let Some(wait) = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok()) else {
                let text = format!("`sleep={wish}` is no number of seconds\n");
                return Ok(Response::text(text).with_status(400));
            };
            request.context().sleep(wait).await;
        }
        let pid = std::process::id();
        Ok(Response::text(format!("hello from handler v1 (pid {pid})\n")))
    }
}

export_handler!(Greeting);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hotseat_plugin_api::{Result, testing::Host};

    use super::Greeting;

    #[test]
    fn greeting_tells_its_version() -> Result<()> {
        let kit = Host::<Greeting>::new().start()?;
        let text = kit.get("/").send().text();
        assert!(text.starts_with("hello from handler v1 (pid "), "{text}");
        Ok(())
    }

    #[test]
    fn greeting_comes_as_late_as_is_wished() -> Result<()> {
        let kit = Host::<Greeting>::new().start()?;
        assert_eq!(kit.get("/?sleep=20").send().status(), 200);
        assert_eq!(kit.now(), Duration::from_secs(20));
        assert_eq!(kit.get("/?sleep=soon").send().status(), 400);
        Ok(())
    }
}
