//! What a call through the ABI costs: nanoseconds of thread CPU time a request, over an IO
//! without system calls. Minimum of interleaved rounds, because everything else is noise.
//!
//! `make bench` runs it. One table has a greeting: by hyper with a closure, by the data plane without a
//! plugin, and with the same literal from a library by way of hyper and past it (thin). The other has an
//! axum application: by hyper, and by both ways of the data plane with the same application from a library.

mod seat;
mod tape;

use std::{convert::Infallible, net::SocketAddr};

use axum::extract::connect_info::MockConnectInfo;
use bytes::Bytes;
use hotseat::{config::Config, serve::in_process};
use http::{Response, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::service::TowerToHyperService;

use crate::{
    seat::Seat,
    tape::{Tape, measure, spin},
};

const ROUNDS: usize = 15;
const REQUESTS: usize = 40_000;
const GREETING: &str = "v1";

const TINY: &str = "GET / HTTP/1.1\r\nhost: localhost:8080\r\n\r\n";
const TEN_MORE: &str = "GET / HTTP/1.1\r\nhost: localhost:8080\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,application/xhtml+xml\r\n\
    accept-language: en-GB,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\n\
    cache-control: no-cache\r\ncookie: session=0123456789abcdef\r\nx-request-id: 4f2a9c\r\n\
    x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\nreferer: https://example.org/\r\n\r\n";
const PATH: &str = "GET /path/7/a/b HTTP/1.1\r\nhost: localhost:8080\r\n\r\n";
const COLLECTED: &str = concat!(
    "POST /length HTTP/1.1\r\nhost: localhost:8080\r\ncontent-length: 100\r\n\r\n",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
);
const ECHOED: &str = concat!(
    "POST /echo HTTP/1.1\r\nhost: localhost:8080\r\ncontent-length: 100\r\n\r\n",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
);

fn main() -> anyhow::Result<()> {
    let config = Config::default();
    println!("ns of CPU a request, minimum of {ROUNDS} interleaved rounds of {REQUESTS}");
    greetings(&config)?;
    services(&config)
}

fn greetings(config: &Config) -> anyhow::Result<()> {
    let seat = Seat::take("libplain_v1.so", config)?;
    let routes = &seat.routes;
    println!(
        "{:<18}{:>10}{:>14}{:>10}{:>10}{:>16}",
        "", "hyper", "no plugin", "plugin", "thin", "thin to hyper"
    );
    for (name, request) in [("tiny GET", TINY), ("+10 headers", TEN_MORE)] {
        let [bare, fixed, plugin, thin] = rounds([
            &|| measure(request, |tape| spin(bare(tape))),
            &|| measure(request, |tape| spin(in_process::fixed(config, routes, tape, GREETING))),
            &|| measure(request, |tape| spin(in_process::plugin(config, routes, tape))),
            &|| measure(request, |tape| spin(in_process::thin(config, routes, tape))),
        ]);
        let ratio = thin / bare;
        println!("{name:<18}{bare:>10.0}{fixed:>14.0}{plugin:>10.0}{thin:>10.0}{ratio:>16.2}");
    }
    seat.leave();
    Ok(())
}

fn services(config: &Config) -> anyhow::Result<()> {
    let seat = Seat::take("libstock_app.so", config)?;
    let routes = &seat.routes;
    println!(
        "\nan axum application\n{:<18}{:>10}{:>10}{:>10}{:>16}",
        "", "hyper", "plugin", "thin", "thin to hyper"
    );
    let shapes = [
        ("tiny GET", TINY),
        ("+10 headers", TEN_MORE),
        ("parts of a path", PATH),
        ("POST, collected", COLLECTED),
        ("POST, echoed", ECHOED),
    ];
    for (name, request) in shapes {
        let [hyper, plugin, thin] = rounds([
            &|| measure(request, |tape| spin(application(tape))),
            &|| measure(request, |tape| spin(in_process::plugin(config, routes, tape))),
            &|| measure(request, |tape| spin(in_process::thin(config, routes, tape))),
        ]);
        println!("{name:<18}{hyper:>10.0}{plugin:>10.0}{thin:>10.0}{:>16.2}", thin / hyper);
    }
    seat.leave();
    Ok(())
}

/// The best of each.
fn rounds<const N: usize>(servers: [&dyn Fn() -> f64; N]) -> [f64; N] {
    let mut best = [f64::MAX; N];
    for _ in 0..ROUNDS {
        for (best, serve) in best.iter_mut().zip(servers) {
            *best = best.min(serve());
        }
    }
    best
}

async fn bare(tape: Tape) {
    let service = service_fn(|_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(GREETING.as_bytes())));
        let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok::<_, Infallible>(response)
    });
    let _ = http1::Builder::new().half_close(true).serve_connection(tape, service).await;
}

async fn application(tape: Tape) {
    let client = SocketAddr::from(([127, 0, 0, 1], 4000));
    let app = hotseat_test_plugins_service::app().layer(MockConnectInfo(client));
    let service = TowerToHyperService::new(app);
    let connection = http1::Builder::new().half_close(true).serve_connection(tape, service);
    let _ = connection.with_upgrades().await;
}
