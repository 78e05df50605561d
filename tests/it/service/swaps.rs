//! They are swapped as others are: nobody notices, and nothing of them is left.

use hotseat_test_support::{eventually, fault, library, start_host, wire};

/// Of each.
const SWAPS: u8 = 10;

#[track_caller]
fn check(name: &str, target: &str, text: &str) {
    let bytes = library::bytes(&fault(name));
    let host = start_host!();
    let deploy = |version: u8| {
        let bytes = [&*bytes, &[version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
    };
    deploy(0);
    let worker = host.worker_pid();
    let traffic = host.traffic(target);
    for version in 1..=SWAPS {
        traffic.wait_for(6);
        deploy(version);
    }
    traffic.wait_for(6);
    let seen = traffic.finish();
    assert!(seen.keys().all(|seen| seen.contains(text)), "{name}: {seen:?}");
    let left = || {
        let retired = wire::list(&host.status(), "/retired");
        retired.into_iter().filter(|it| it["life"] != "unloaded").collect::<Vec<_>>()
    };
    eventually!(left().is_empty(), "{name}: {:#?}", left());
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0, "{name}");
    assert_eq!(host.loaded().len(), 1, "{name}: {:?}", host.loaded());
    assert_eq!(host.worker_pid(), worker, "{name}");
}

#[test]
fn an_application_unloads() {
    check("stock_app", "/task", "slept");
}

#[test]
fn a_service_unloads() {
    check("counting_service", "/", "id=true peer=true generation=");
}

#[test]
fn a_handler_with_a_runtime_unloads() {
    check("tokio_handler", "/handler/", "blocking false");
}
