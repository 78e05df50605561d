//! Plugins with real dependencies, those that build quickly, are swapped under load, and signalled:
//! each old library is gone, and nobody noticed. `make real-plugins` has the others, and figures.

use hotseat_test_support::{fault, library, start_host};
use rustix::process::Signal;

/// Swaps of each.
const SWAPS: u8 = 12;

#[track_caller]
fn check(name: &str) {
    let bytes = library::bytes(&fault(&format!("real_{name}")));
    let host = start_host!();
    let deploy = |version: u8| {
        let bytes = [&*bytes, &[version]].concat();
        host.deploy_bytes(&bytes, &format!("libreal_v{version}.so")).swapped();
    };
    deploy(0);
    let worker = host.worker_pid();
    let traffic = host.traffic("/real");
    for version in 1..=SWAPS {
        traffic.wait_for(6);
        deploy(version);
        for signal in [Signal::WINCH, Signal::URG] {
            host.signal_process(worker, signal);
        }
    }
    traffic.wait_for(6);
    assert!(traffic.finish().values().sum::<u64>() > 0, "{name}");
    host.assert_all_unloaded(name);
    assert_eq!(host.worker_pid(), worker, "{name}");
}

macro_rules! unloads {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+
    };
}

unloads! {
    arc_swap chrono crossbeam dashmap env_logger flate2 jiff minijinja parking_lot prometheus rayon
    regex signal_hook tokio_runtime tokio_signal tracing
}
