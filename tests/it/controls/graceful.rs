//! The usual graceful end of idle connections, and the POSTs that it costs.

use std::{convert::Infallible, net::TcpListener, thread::JoinHandle, time::Duration};

use bytes::Bytes;
use hotseat_test_support::{Idle, Load, LoadPlan, Report};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch};

/// Reads the body, as every server that takes POSTs does.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// One connection, ended by hyper's own graceful shutdown when it is told.
async fn serve(stream: TcpStream, mut told: watch::Receiver<bool>) {
    let io = TokioIo::new(stream);
    let connection = http1::Builder::new().serve_connection(io, service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = told.wait_for(|end| *end) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that goes away is no news here.
    let _ = connection.await;
}

/// Serves on a thread of its own, as one generation; the next one takes over the same socket.
fn generation(listener: TcpListener, told: watch::Receiver<bool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _: Result<(), Infallible> = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut connections = tokio::task::JoinSet::new();
            let mut end = told.clone();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        connections.spawn(serve(stream, told.clone()));
                    }
                    _ = end.wait_for(|end| *end) => break,
                }
            }
            while connections.join_next().await.is_some() {}
            Ok(())
        });
    })
}

/// Two generations share one socket; the first one is told to end gracefully. The clients look at
/// their idle connections, so that only a close that crosses a request costs one.
fn hand_over() -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (end_first, first) = watch::channel(false);
    let (end_next, next) = watch::channel(false);
    let first = generation(listener.try_clone().unwrap(), first);
    let think = Duration::ZERO..=Duration::from_millis(50);
    let plan = LoadPlan {
        kept: 150,
        fresh: 0,
        think,
        post_percent: 100,
        body: 0..=256,
        idle: Idle::Watched,
        ..LoadPlan::default()
    };
    let load = Load::start(address, plan);
    load.wait_for(600);
    let next = generation(listener, next);
    end_first.send(true).unwrap();
    first.join().unwrap();
    load.wait_for(600);
    let report = load.stop();
    end_next.send(true).unwrap();
    next.join().unwrap();
    report
}

/// hyper closes an idle connection at once; a POST that is on its way then gets no answer.
#[test]
fn a_plain_graceful_shutdown_fails_posts() {
    super::until_seen("graceful_shutdown()", hand_over, |report| report.failed() > 0);
}
