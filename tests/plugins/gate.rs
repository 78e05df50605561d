//! Keeps requests in flight until a test lets them go.
//!
//! `?gate=SOCKET` names the test's socket: the plugin connects ("started") and waits for a byte.
//! `/stream` sends its head and a first piece before it waits; all else waits first. The answer
//! names the generation that began it.

use std::{
    io::{ErrorKind, Read as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Gate {
    context: Context,
}

/// Waits for the test's byte. Looks at the socket between two timers of the host's, because a
/// plugin must not block its thread.
async fn wait(context: &Context, socket: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_nonblocking(true)?;
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Error::new("the gate is gone")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                context.sleep(Duration::from_millis(2)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Handler for Gate {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let name = format!("gate {}", self.context.generation());
        let socket = request.query().and_then(|query| query.strip_prefix("gate="));
        let Some(socket) = socket.map(ToOwned::to_owned) else { return Ok(Response::text(name)) };
        if request.path() == "/stream" {
            let context = self.context.clone();
            return Ok(Response::streaming(move |mut out| async move {
                out.send(format!("{name};")).await;
                wait(&context, &socket).await?;
                out.send(format!("{name};")).await;
                Ok(())
            }));
        }
        wait(&self.context, &socket).await?;
        Ok(Response::text(name))
    }
}

export_handler!(Gate);
