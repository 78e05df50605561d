//! Bodies that are longer than the worker that has begun them serves.

use hotseat_test_support::transfer::{Download, Upload, pattern_sum};

use super::{pid_of, upgrade_and_drain, whoami};

/// Units: bytes.
const MIB: u64 = 1 << 20;
const LENGTH: u64 = 64 * MIB;

/// Half way up and half way down the worker changes: the one that has begun ends it, whole.
#[test]
fn large_bodies_end_where_they_began() {
    let host = whoami().start();
    let mut upload = Upload::begin(host.data(), "/", LENGTH).unwrap();
    upload.send_up_to(8 * MIB).unwrap();
    let mut download = Download::begin(host.data(), &format!("/?bytes={LENGTH}")).unwrap();
    download.read_up_to(8 * MIB).unwrap();
    let (old, new) = upgrade_and_drain(&host);
    assert_eq!(pid_of(&host.get("/")), new);
    assert_eq!(pid_of(&download.head), old);
    upload.send_up_to(LENGTH / 2).unwrap();
    assert_eq!(download.finish().unwrap(), (LENGTH, pattern_sum(LENGTH)));
    let answer = upload.finish().unwrap();
    assert_eq!(pid_of(&answer), old, "{answer:?}");
    host.wait_gone(old);
}
