//! ureq: an agent with a pool, on the host's pool of threads, asking a server of the plugin's own.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin {
    context: Context,
    agent: ureq::Agent,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

fn serve(listener: &TcpListener) {
    for peer in listener.incoming().map_while(Result::ok) {
        let (mut peer, mut head) = (peer, [0; 2048]);
        match peer.read(&mut head) {
            Ok(4) if head.starts_with(b"end\n") => return,
            Ok(1..) => {
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                let _ = peer.write_all(answer.as_bytes());
            }
            _ => {}
        }
    }
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = Some(thread::spawn(move || serve(&listener)));
        let agent = ureq::Agent::new_with_defaults();
        Ok(Self { context: context.clone(), agent, address, server })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let (agent, url) = (self.agent.clone(), format!("http://{}/", self.address));
        let asked =
            self.context.blocking(move || agent.get(url).call()?.body_mut().read_to_string());
        Ok(Response::text(asked.await??))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Ok(mut last) = TcpStream::connect(self.address) {
            let _ = last.write_all(b"end\n");
        }
        let _ = self.server.take().map(JoinHandle::join);
    }
}

export_handler!(Plugin, name = "real");
