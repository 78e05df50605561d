//! The tables of ratios: plugin in hotseat against the same code linked statically, and nginx.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use anyhow::Context as _;
use hotseat_test_support::{Builder, fault, library::installed};

use crate::{
    cores::Cores,
    load::{Figures, Shape, measure},
    peers::{Kind, Peer},
};

/// Tiny requests, ten more headers, and one connection alone.
const GREETINGS: [Shape; 3] = [
    Shape::get("tiny GET, 32 connections", "/"),
    Shape { headers: 10, ..Shape::get("10 more headers, 32 connections", "/") },
    Shape { connections: 1, ..Shape::get("tiny GET, 1 connection", "/") },
];

/// Requests to an application, on 32 connections.
const REQUESTS: [Shape; 5] = [
    Shape::get("tiny GET", "/"),
    Shape { headers: 10, ..Shape::get("GET with 10 more headers", "/") },
    Shape::get("GET with parts of its path", "/path/7/a/b"),
    Shape { body: 100, ..Shape::get("POST of 100 bytes, collected", "/length") },
    Shape { body: 100, ..Shape::get("POST of 100 bytes, echoed", "/echo") },
];

/// One server under test.
struct Server {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Median, lowest and highest of the ratios of the rounds.
fn ratios(
    rounds: &[Vec<Figures>],
    which: usize,
    to: usize,
    of: fn(&Figures) -> f64,
) -> (f64, f64, f64) {
    let all: Vec<f64> = rounds.iter().map(|round| of(&round[which]) / of(&round[to])).collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(0.0, f64::max);
    (median(all), low, high)
}

fn print(servers: &[Server], rounds: &[Vec<Figures>]) {
    println!(
        "{:<20} {:>10} {:>8} {:>8} {:>8}  {:>9} {:>9} {:>9}  CPU to hyper (low to high)",
        "", "requests/s", "CPU us", "p50 us", "p99 us", "rps/axum", "CPU/axum", "p50/hyper"
    );
    for (at, server) in servers.iter().enumerate() {
        let middle =
            |of: fn(&Figures) -> f64| median(rounds.iter().map(|round| of(&round[at])).collect());
        let to = |peer: &str, of| {
            let peer = servers.iter().position(|it| it.name == peer).unwrap_or(0);
            ratios(rounds, at, peer, of)
        };
        let (cpu, low, high) = to("hyper", |it| it.cpu_us);
        println!(
            "{:<20} {:>10.0} {:>8.2} {:>8.0} {:>8.0}  {:>9.2} {:>9.2} {:>9.2}  {cpu:.3} ({low:.2} to {high:.2})",
            server.name,
            middle(|it| it.per_second),
            middle(|it| it.cpu_us),
            middle(|it| it.p50_us),
            middle(|it| it.p99_us),
            to("axum", |it| it.per_second).0,
            to("axum", |it| it.cpu_us).0,
            to("hyper", |it| it.p50_us).0,
        );
    }
    if let Some(nginx) = servers.iter().position(|it| it.name == "nginx") {
        let (cpu, low, high) = ratios(rounds, 0, nginx, |it| it.cpu_us);
        println!("plugin to nginx, CPU a request: {cpu:.3} ({low:.2} to {high:.2})");
    }
}

pub(crate) fn run(host: &Path, rounds: u32, seconds: u32) -> anyhow::Result<ExitCode> {
    if !installed("wrk") {
        println!("serving: skipped (wrk is not installed: `make packages`)");
        return Ok(ExitCode::SUCCESS);
    }
    let binary = host.canonicalize().context("find the host's binary")?;
    let cores = Cores::divide()?;
    cores.as_ref().map_or(Ok(()), Cores::serve)?;
    let host = Builder::new(binary).env("HOTSEAT_LOG", "warn");
    let host = host.with(fault("plain_v1"), "libhandler_v1.so").start();
    let axum = Peer::start(Kind::Axum)?;
    let hyper = Peer::start(Kind::Hyper)?;
    let nginx = if installed("nginx") { Some(Peer::start_nginx()?) } else { None };
    let mut servers = vec![
        Server { name: "plugin in hotseat", address: host.data(), pid: host.pid() },
        Server { name: "axum", address: axum.address, pid: axum.pid() },
        Server { name: "hyper", address: hyper.address, pid: hyper.pid() },
    ];
    servers.extend(nginx.iter().map(|it| Server {
        name: "nginx",
        address: it.address,
        pid: it.pid(),
    }));
    for server in &servers {
        Peer::check(server.address).with_context(|| format!("ask {}", server.name))?;
    }
    compare(&servers, &GREETINGS, (rounds, seconds), cores.as_ref())?;
    println!("\ntargets: CPU to hyper at most 1.05; to nginx (tiny GET) at most 1.00");
    println!("loopback runs scatter: the gate is the in-process bench, not this table");
    Ok(ExitCode::SUCCESS)
}

/// One application as a plugin, served by axum, and served by hyper with a runtime a core.
pub(crate) fn run_services(
    host: &Path,
    program: &Path,
    rounds: u32,
    seconds: u32,
) -> anyhow::Result<ExitCode> {
    if !installed("wrk") {
        println!("services: skipped (wrk is not installed: `make packages`)");
        return Ok(ExitCode::SUCCESS);
    }
    let binary = host.canonicalize().context("find the host's binary")?;
    let cores = Cores::divide()?;
    cores.as_ref().map_or(Ok(()), Cores::serve)?;
    let host = Builder::new(binary).env("HOTSEAT_LOG", "warn");
    let host = host.with(fault("stock_app"), "libhandler_v1.so").start();
    let axum = Peer::start_program(program, "axum")?;
    let hyper = Peer::start_program(program, "hyper")?;
    let servers = [
        Server { name: "plugin in hotseat", address: host.data(), pid: host.pid() },
        Server { name: "axum", address: axum.address, pid: axum.pid() },
        Server { name: "hyper", address: hyper.address, pid: hyper.pid() },
    ];
    println!("\nan axum application with layers of tower-http, as a plugin and as programs");
    compare(&servers, &REQUESTS, (rounds, seconds), cores.as_ref())?;
    println!("\ntargets: CPU to axum and to hyper at most 1.30 for a GET, 1.40 for a small POST");
    Ok(ExitCode::SUCCESS)
}

fn compare(
    servers: &[Server],
    shapes: &[Shape],
    (rounds, seconds): (u32, u32),
    cores: Option<&Cores>,
) -> anyhow::Result<()> {
    // Without cores of their own both sides have the same two threads that they always had.
    let threads = cores.map_or(Ok(2), Cores::load)?;
    println!("{rounds} interleaved rounds of {seconds} s; only ratios within this run count");
    for shape in shapes {
        let mut all = Vec::new();
        for round in 0..rounds {
            let mut figures: Vec<Option<Figures>> = vec![None; servers.len()];
            // Each round begins with another server, so that none always follows the same one.
            for step in 0..servers.len() {
                let at = (step + round as usize) % servers.len();
                let server = &servers[at];
                figures[at] =
                    Some(measure(server.address, server.pid, *shape, (seconds, threads))?);
            }
            all.push(figures.into_iter().flatten().collect());
        }
        println!("\n{}", shape.name);
        print(servers, &all);
    }
    Ok(())
}
