//! Tells for each piece of its code whether a tokio runtime is around it: of what no request asks for by
//! lines in the log, of conversations by what they say.

use hotseat_plugin_api::{
    Context, Handler, Message, Phase, Request, Response, Result, Signal, export_handler,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

struct Inside {
    context: Context,
}

/// `inside` or `outside`.
fn place() -> &'static str {
    if Handle::try_current().is_ok() { "inside" } else { "outside" }
}

impl Inside {
    fn tell(&self, of: &str) {
        self.context.info(&format!("{of} is {}", place()), &[]);
    }
}

/// Told when it is dropped, with what holds it.
struct Told(Context);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.info(&format!("what a conversation held is dropped {}", place()), &[]);
    }
}

/// Both ends of a connection within one process.
async fn network() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (mut near, (mut far, _)) = (near?, far?);
    near.write_all(b"over the network").await?;
    near.shutdown().await?;
    let mut text = String::new();
    far.read_to_string(&mut text).await?;
    Ok(text)
}

impl Handler for Inside {
    fn new(context: &Context) -> Result<Self> {
        let made = Self { context: context.clone() };
        made.tell("new");
        Ok(made)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/socket" => {
                let told = Told(self.context.clone());
                Response::websocket(&request, |mut socket| async move {
                    let _told = told;
                    while let Some(message) = socket.recv().await? {
                        if let Message::Text(_) = message {
                            socket.send(Message::Text(place().to_owned())).await?;
                        }
                    }
                    Ok(())
                })
            }
            "/upgrade" => Ok(Response::upgrade("place", |mut io| async move {
                io.write_all(place().as_bytes()).await?;
                Ok(io.shutdown().await?)
            })),
            "/network" => Ok(Response::text(network().await?)),
            _ => Ok(Response::text(place())),
        }
    }

    fn drain(&self) {
        self.tell("drain");
    }

    fn signal(&self, _: Signal, _: Phase) {
        self.tell("signal");
    }

    fn stop(&self) {
        self.tell("stop");
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.tell("drop");
    }
}

export_handler!(Inside, runtime = "tokio");
