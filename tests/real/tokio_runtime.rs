//! tokio: a runtime of the plugin's own, kept as a field; tasks, timers, sockets and its blocking
//! pool in each request.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net, runtime};

struct Plugin {
    runtime: runtime::Runtime,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let asked = self.runtime.spawn(async {
            // The runtime's timer is part of what is tried; nothing is waited for.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let listener = net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let said = tokio::spawn(async move {
                let (mut peer, _) = listener.accept().await?;
                peer.write_all(b"hello").await
            });
            let mut text = String::new();
            net::TcpStream::connect(address).await?.read_to_string(&mut text).await?;
            said.await??;
            let sum = tokio::task::spawn_blocking(|| (1..=100).sum::<u32>()).await?;
            std::io::Result::Ok(format!("{text} {sum}\n"))
        });
        Ok(Response::text(asked.await??))
    }
}

export_handler!(Plugin, name = "real");
