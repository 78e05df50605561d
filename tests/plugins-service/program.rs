//! The same application as a program of its own: on a free port of localhost, which it prints.

use std::net::SocketAddr;

use tokio::net::TcpListener;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let app = hotseat_test_plugins_service::app();
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
}
