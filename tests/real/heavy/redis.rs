//! redis: a connection, on the host's pool of threads, to a server of the plugin's own.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use redis::Connection;

struct Plugin {
    context: Context,
    connection: Option<Arc<Mutex<Connection>>>,
    server: Option<JoinHandle<()>>,
}

/// Says yes to everything, until the client goes.
fn serve(mut peer: TcpStream) {
    let mut asked = [0; 2048];
    while let Ok(count @ 1..) = peer.read(&mut asked) {
        // Each command is an array of its words.
        let commands = asked[..count].iter().filter(|byte| **byte == b'*').count();
        if peer.write_all("+OK\r\n".repeat(commands).as_bytes()).is_err() {
            return;
        }
    }
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("redis://{}/", listener.local_addr()?);
        let server = thread::spawn(move || {
            if let Ok((peer, _)) = listener.accept() {
                serve(peer);
            }
        });
        let connection = redis::Client::open(url)?.get_connection()?;
        let connection = Some(Arc::new(Mutex::new(connection)));
        Ok(Self { context: context.clone(), connection, server: Some(server) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let connection = self.connection.clone();
        let asked = self.context.blocking(move || {
            let connection = connection.as_ref().map(|it| it.lock());
            let mut connection = connection?.unwrap_or_else(PoisonError::into_inner);
            redis::cmd("SET").arg("key").arg(7).query::<String>(&mut *connection).ok()
        });
        Ok(Response::text(format!("{}\n", asked.await?.unwrap_or_default())))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.connection = None;
        let _ = self.server.take().map(JoinHandle::join);
    }
}

export_handler!(Plugin, name = "real");
