//! Where the host cannot listen, and where it can be reached.

use std::{
    net::TcpListener,
    os::linux::net::SocketAddrExt as _,
    os::unix::net::{SocketAddr, UnixListener},
};

use hotseat_test_support::{Home, host, start_host};

const FLAGS: [&str; 3] = ["--listen", "--control", "--health-listen"];

#[track_caller]
fn refused(flag: &str, address: &str, words: &[&str]) {
    let (status, log) = host!().arg(format!("{flag}={address}")).start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    for word in [&[address, flag], words].concat() {
        assert!(log.contains(word), "{flag} {address}: no `{word}` in {log}");
    }
}

/// Whoever has the address is named, and the setting of just this listener.
#[test]
fn a_taken_address_names_who_has_it() {
    let home = Home::new();
    let path = home.path().join("taken.sock");
    let name = format!("hotseat-taken-{}", std::process::id());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let _unix = UnixListener::bind(&path).unwrap();
    let _named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let addresses = [
        tcp.local_addr().unwrap().to_string(),
        format!("unix:{}", path.display()),
        format!("unix:@{name}"),
    ];
    let me = format!("(pid {})", std::process::id());
    for flag in FLAGS {
        for address in &addresses {
            // The control plane has no address that other accounts may take.
            if !(flag == "--control" && address.contains('@')) {
                refused(flag, address, &["in use by", &me]);
            }
        }
    }
}

/// Another host is told apart, and how it is stopped.
#[test]
fn another_host_is_recognised() {
    let first = start_host!();
    let stop = format!("kill {}", first.pid());
    refused("--listen", &first.data().to_string(), &["`hotseat`", &stop]);
}

#[test]
fn what_is_no_address_of_this_machine_says_so() {
    let home = Home::new();
    let file = home.write("file", b"");
    let (file, none) = (file.display(), home.path().join("none/x.sock"));
    let long = home.path().join("x".repeat(120));
    refused("--listen", "192.0.2.1:80", &["ip address"]);
    refused("--listen", &format!("unix:{file}"), &["no socket", "remove it"]);
    refused("--listen", &format!("unix:{}", none.display()), &["make the folder"]);
    refused("--health-listen", &format!("unix:{}", long.display()), &["107 bytes"]);
}

/// The command that fills an empty host goes to this host, wherever it listens for orders.
#[test]
fn an_empty_host_names_its_own_control_plane() {
    let host = start_host!();
    let control = host.control().address;
    let command = format!("curl {control} -d ./libhandler_v1.so");
    host.get("/").assert_status(503).assert_contains(&command);
    host.control().get("/").assert_contains(&command);
}

/// With a plugin that the settings name, if they name one.
#[test]
fn an_empty_host_names_the_plugin_of_its_settings() {
    let host = host!().config("[plugin.shop]\nroom = 1\n").start();
    let command = format!("curl {} -d ./libshop_v1.so", host.control().address);
    host.get("/shop").assert_status(503).assert_contains(&command);
    host.control().get("/").assert_contains(&command);
}
