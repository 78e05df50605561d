//! Says in which order its parts end.
//!
//! `?gate=SOCKET` starts a thread that nobody joins: it reports at the test's socket, waits for its
//! byte and says that it ends. `?drop=SOCKET` has the handler's drop wait in the same way. The thread
//! uses what it owns alone.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    sync::Mutex,
    thread,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct EndOrder {
    context: Context,
    waits_at: Mutex<Option<String>>,
}

fn wait(socket: &str) -> io::Result<()> {
    UnixStream::connect(socket)?.read_exact(&mut [0])
}

impl Handler for EndOrder {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone(), waits_at: Mutex::new(None) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let query = request.query().unwrap_or_default();
        if let Some(socket) = query.strip_prefix("gate=") {
            let (context, socket) = (self.context.clone(), socket.to_owned());
            thread::Builder::new().name("left-behind".to_owned()).spawn(move || {
                let waited = wait(&socket);
                context.info("the thread ends", &[("waited", &waited.is_ok())]);
            })?;
        }
        if let Some(socket) = query.strip_prefix("drop=") {
            let mut waits_at = self.waits_at.lock().map_err(|_| Error::new("a panic"))?;
            *waits_at = Some(socket.to_owned());
        }
        Ok(Response::text("end_order"))
    }

    fn stop(&self) {
        self.context.info("the handler is stopped", &[]);
    }
}

impl Drop for EndOrder {
    fn drop(&mut self) {
        let waits_at = self.waits_at.lock().map_or(None, |mut it| it.take());
        let waited = waits_at.map(|socket| wait(&socket).is_ok());
        self.context.info("the handler is dropped", &[("waited", &format!("{waited:?}"))]);
    }
}

export_handler!(EndOrder);
