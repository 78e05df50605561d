//! The same application as a program of its own: on a free port of localhost, which it prints. Served by
//! axum, or (`hyper`) by hyper with a runtime for each core, until it is ended.

use std::{net::SocketAddr, thread};

use axum::extract::connect_info::MockConnectInfo;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc::{Receiver, channel},
    task::LocalSet,
};

fn main() -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    if std::env::args().nth(1).as_deref() == Some("hyper") {
        return serve_by_cores(listener);
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = hotseat_test_plugins_service::app();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(TcpListener::from_std(listener)?, app).await
    })
}

/// The first thread accepts and deals the connections in turn.
fn serve_by_cores(listener: std::net::TcpListener) -> std::io::Result<()> {
    let cores = thread::available_parallelism()?.get();
    let mut seats = Vec::new();
    for _ in 0..cores {
        let (sender, connections) = channel(1024);
        seats.push(sender);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || LocalSet::new().block_on(&runtime, serve(connections)));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        for seat in seats.iter().cycle() {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // The other side lives as long as the process.
            let _ = seat.send((stream.into_std()?, peer)).await;
        }
        Ok(())
    })
}

async fn serve(mut connections: Receiver<(std::net::TcpStream, SocketAddr)>) {
    while let Some((stream, peer)) = connections.recv().await {
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let app = hotseat_test_plugins_service::app().layer(MockConnectInfo(peer));
        #[expect(clippy::disallowed_methods, reason = "a program of its own has no data threads")]
        tokio::task::spawn_local(async move {
            let service = TowerToHyperService::new(app);
            let io = TokioIo::new(stream);
            // A client that goes away is no news here.
            let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
        });
    }
}
