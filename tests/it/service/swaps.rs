//! They are swapped as others are: nobody notices, and nothing of them is left.

use hotseat_test_support::{fault, library, start_host};

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
    host.assert_all_unloaded(name);
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

#[test]
fn a_service_that_logs_unloads() {
    check("logs", "/tasks", "told");
}

#[test]
fn a_service_with_a_subscriber_of_its_own_unloads() {
    check("own_subscriber", "/", "told");
}
