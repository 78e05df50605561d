//! Bad artifacts: each is refused with its own code while a request is in flight, and afterwards
//! nothing has changed.
//!
//! Method of [`check`]: hold one request in flight in generation 1, offer the artifact, look at
//! the refusal, release the request.

use hotseat_test_support::{Deploy, Host, Refused, procfs};

mod bytes;
mod file;
mod late;
mod preflight;

/// The name under which an artifact is offered: if it were good, it would take the seat.
const OFFERED: &str = "libhandler_v2.so";

/// Offers one bad artifact to a host that serves.
#[track_caller]
fn check(offer: impl FnOnce(&Host) -> Deploy, status: u16, code: &str) -> Refused {
    let host = crate::gate_host();
    check_with(&host, offer, status, code)
}

/// As [`check`], for a host with settings of its own.
#[track_caller]
fn check_with(
    host: &Host,
    offer: impl FnOnce(&Host) -> Deploy,
    status: u16,
    code: &str,
) -> Refused {
    let serving = host.active("handler");
    let loaded = host.loaded();
    assert_eq!(loaded.len(), 1, "one library is mapped: {loaded:?}");
    let held = host.hold("/");

    let refused = offer(host).assert_refused(status, code);
    assert!(!refused.hint.is_empty(), "a refusal says what to do: {refused:?}");

    held.release().assert_status(200).assert_contains(&format!("gate {serving}"));
    assert_eq!(host.active("handler"), serving, "the same generation serves");
    assert_eq!(host.loaded(), loaded, "nothing else is mapped");
    assert_eq!(procfs::children(host.worker_pid()), Vec::<u32>::new(), "no child is left");
    host.get("/").assert_status(200).assert_contains(&format!("gate {serving}"));
    host.assert_no_failed_requests();
    refused
}

/// One test for each artifact.
macro_rules! refused {
    ($($(#[$doc:meta])* $name:ident: $status:literal $code:literal = $offer:expr;)*) => { $(
        $(#[$doc])*
        #[test]
        fn $name() {
            $crate::zoo::check($offer, $status, $code);
        }
    )* };
}
use refused;
