//! reqwest: a client with a pool, on a runtime kept as a field, asking a server of the plugin's own.

use std::net::SocketAddr;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime,
};

struct Plugin {
    client: reqwest::Client,
    address: SocketAddr,
    runtime: runtime::Runtime,
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut peer, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut heads = [0; 2048];
            while peer.read(&mut heads).await.is_ok_and(|count| count > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                if peer.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener));
        Ok(Self { client: reqwest::Client::builder().no_proxy().build()?, address, runtime })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let asked = self.client.get(format!("http://{}/", self.address));
        let text = self.runtime.spawn(async move { asked.send().await?.text().await });
        Ok(Response::text(text.await??))
    }
}

export_handler!(Plugin, name = "real");
