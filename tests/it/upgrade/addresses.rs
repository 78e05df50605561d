//! Addresses that stay keep their socket, new ones are there before the commit, removed ones are
//! emptied and then gone.

use std::net::SocketAddr;

use hotseat_test_support::{Builder, Connection, Host, eventually, procfs};

use super::{Slow, assert_one_worker, builder, pid_of};

/// As `/proc/net/tcp` writes it.
fn shown(address: &str) -> SocketAddr {
    let (host, port) = address.split_once(':').unwrap();
    let host = u32::from_str_radix(host, 16).unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    // The kernel prints the number in the byte order of the machine.
    SocketAddr::from((host.to_ne_bytes(), port))
}

/// The sockets that a process listens on, with their inodes.
fn sockets(pid: u32) -> Vec<(SocketAddr, u64)> {
    let list = procfs::listeners(pid).into_iter();
    list.map(|(address, inode)| (shown(&address), inode)).collect()
}

/// The first socket on this loopback address.
fn socket_on(pid: u32, ip: [u8; 4]) -> Option<(SocketAddr, u64)> {
    sockets(pid).into_iter().find(|(address, _)| address.ip() == std::net::IpAddr::from(ip))
}

/// Each address has a number of its own at its end, so that ports can be the system's choice.
fn config(numbers: &[u8]) -> String {
    let list: Vec<_> = numbers.iter().map(|it| format!("\"127.0.0.{it}:0\"")).collect();
    format!("listen = [{}]\n", list.join(", "))
}

fn configured(builder: Builder, numbers: &[u8]) -> Host {
    builder.listen(&[]).config(&config(numbers)).start()
}

/// The same socket through all generations, in the master and in the worker that serves.
#[test]
fn an_address_keeps_its_socket() {
    let host = builder().start();
    let all = sockets(host.pid());
    assert_eq!(all.len(), 2, "data and control: {all:?}");
    for _ in 0..5 {
        let old = host.worker_pid();
        assert_eq!(sockets(old), all);
        host.upgrade(&["--wait"]).assert_code(0);
        host.wait_gone(old);
        assert_eq!(sockets(host.pid()), all);
    }
}

/// A new address answers in the soak already.
#[test]
fn a_new_address_answers_before_the_commit() {
    let host = configured(super::soaking(super::FOREVER), &[2]);
    let kept = socket_on(host.pid(), [127, 0, 0, 2]).unwrap();
    host.home().rewrite_config(&config(&[2, 3]));
    host.upgrade(&["--wait=ready"]).assert_code(0);
    let new = host.wait_role("soaking").pid;
    let (added, _) = socket_on(new, [127, 0, 0, 3]).unwrap();
    assert_eq!(pid_of(&Connection::open(added).unwrap().get("/").unwrap()), new);
    assert_eq!(socket_on(new, [127, 0, 0, 2]), Some(kept));
    assert_eq!(super::listen(&host).len(), 2);
}

/// What is in flight on a removed address finishes; the address itself is gone from every process.
#[test]
fn a_removed_address_is_emptied_and_closed() {
    let host = configured(builder(), &[2, 3]);
    let old = host.worker_pid();
    let kept = socket_on(host.pid(), [127, 0, 0, 2]).unwrap();
    let (removed, _) = socket_on(host.pid(), [127, 0, 0, 3]).unwrap();
    let slow = Slow::start(removed);
    host.home().rewrite_config(&config(&[2]));
    host.upgrade(&["--wait"]).assert_code(0);
    eventually!(Connection::open(removed).is_err(), "{removed} to be closed");
    assert_eq!(slow.finish(), old);
    host.wait_gone(old);
    let new = host.worker_pid();
    assert_one_worker(&host, new);
    for pid in [host.pid(), new] {
        assert_eq!(socket_on(pid, [127, 0, 0, 3]), None, "{pid}");
        assert_eq!(socket_on(pid, [127, 0, 0, 2]), Some(kept), "{pid}");
    }
    assert_eq!(pid_of(&Connection::open(kept.0).unwrap().get("/").unwrap()), new);
}

/// While the new worker is watched, the one before still answers at an address that is to go: it
/// may have to come back.
#[test]
fn a_removed_address_answers_until_the_commit() {
    let host = configured(super::soaking(super::FOREVER), &[2, 3]);
    let old = host.worker_pid();
    let (removed, _) = socket_on(host.pid(), [127, 0, 0, 3]).unwrap();
    host.home().rewrite_config(&config(&[2]));
    host.upgrade(&["--wait=ready"]).assert_code(0);
    host.wait_role("parked");
    assert_eq!(pid_of(&Connection::open(removed).unwrap().get("/").unwrap()), old);
}

/// What only a worker had that was taken back goes with it, after what is in flight there.
#[test]
fn a_new_address_goes_with_its_worker() {
    let host = configured(super::soaking(super::FOREVER).arg("--soak-requests-count=20"), &[2]);
    host.home().rewrite_config(&config(&[2, 3]));
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    let (added, _) = socket_on(new, [127, 0, 0, 3]).unwrap();
    let slow = Slow::start(added);
    let mut connection = Connection::open(added).unwrap();
    for _ in 0..20 {
        connection.get("/?status=500").unwrap().assert_status(500);
    }
    upgrading.wait().assert_code(6);
    eventually!(Connection::open(added).is_err(), "{added} to be closed");
    assert_eq!(socket_on(host.pid(), [127, 0, 0, 3]), None);
    assert_eq!(slow.finish(), new);
    host.wait_gone(new);
}

/// An upgrade that fails leaves no socket of its own behind.
#[test]
fn a_failed_upgrade_closes_what_it_has_bound() {
    let taken = hotseat_test_support::host::listener();
    let host = configured(builder(), &[2]);
    let before = sockets(host.pid());
    let more = format!(
        "listen = [\"127.0.0.2:0\", \"127.0.0.3:0\", \"{}\"]\n",
        taken.local_addr().unwrap()
    );
    host.home().rewrite_config(&more);
    host.upgrade(&["--wait"]).assert_code(3);
    assert_eq!(sockets(host.pid()), before);
}
