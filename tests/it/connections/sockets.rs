//! Listeners of every kind across upgrades: the address stays, and so does the socket behind it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixStream},
        },
    },
    path::Path,
};

use hotseat_test_support::{Connection, Host, address::free_address, procfs};

use super::{pid_of, upgrade, whoami};

/// A kept connection over a Unix socket.
struct Kept(BufReader<UnixStream>);

impl Kept {
    fn open(address: &SocketAddr) -> Self {
        let stream = UnixStream::connect_addr(address).unwrap();
        stream.set_read_timeout(Some(hotseat_test_support::patience())).unwrap();
        Self(BufReader::new(stream))
    }

    /// The process that answers.
    fn who(&mut self) -> u32 {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut pid = None;
        let mut line = String::new();
        // The body is one line, too.
        while !line.starts_with('{') {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection was closed");
            let field = line.to_ascii_lowercase();
            pid = field.strip_prefix("x-pid:").and_then(|it| it.trim().parse().ok()).or(pid);
        }
        pid.expect("whoami says who it is")
    }
}

/// Inodes of listening Unix sockets by the names that the kernel shows. # Source: proc(5), unix.
fn unix_inodes(name: &str) -> Vec<u64> {
    let text = std::fs::read_to_string("/proc/net/unix").unwrap();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Flags 00010000: it listens.
    let ours =
        words.filter(|words| words.last() == Some(&name) && words.get(3) == Some(&"00010000"));
    ours.map(|words| words[6].parse().unwrap()).collect()
}

/// Several upgrades; the kept connection and new ones go to the new worker each time.
#[track_caller]
fn check(host: &Host, name: &str, address: &SocketAddr) {
    let inodes = unix_inodes(name);
    assert_eq!(inodes.len(), 1, "one socket listens on {name}");
    let mut kept = Kept::open(address);
    for _ in 0..3 {
        let before = kept.who();
        let (old, new) = upgrade(host);
        assert_eq!(before, old);
        host.wait_gone(old);
        assert_eq!((kept.who(), Kept::open(address).who()), (new, new));
        assert_eq!(unix_inodes(name), inodes, "the same socket");
    }
}

/// The file of a socket outlives every worker that is replaced, and goes with the host.
#[test]
fn a_unix_socket_keeps_its_path() {
    let builder = whoami();
    let path = builder.home().path().join("data.sock");
    let name = path.display().to_string();
    let mut host = builder.listen(&["127.0.0.1:0", &format!("unix:{name}")]).start();
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let before = inode(&path);
    check(&host, &name, &SocketAddr::from_pathname(&path).unwrap());
    assert_eq!(inode(&path), before, "the same file");
    assert_eq!(host.stop().code(), Some(0));
    assert!(!path.exists(), "the file is gone with the host");
}

/// A socket without a file: `unix:@NAME`.
#[test]
fn an_abstract_socket_keeps_its_name() {
    let builder = whoami();
    // The folder's name is nobody else's.
    let own = builder.home().path().file_name().unwrap().to_str().unwrap().to_owned();
    let listen = format!("unix:@{own}");
    let mut host = builder.listen(&["127.0.0.1:0", &listen]).start();
    assert!(host.ready().line.contains(&listen), "{:?}", host.ready());
    assert!(host.status()["listen"].to_string().contains(&listen), "{}", host.status());
    let address = SocketAddr::from_abstract_name(&own).unwrap();
    check(&host, &format!("@{own}"), &address);
    assert_eq!(host.stop().code(), Some(0));
    let error = UnixStream::connect_addr(&address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// The control plane has no such socket: nothing would keep other accounts out.
#[test]
fn the_control_plane_has_no_abstract_socket() {
    let output = hotseat_test_support::host!().run(&["serve", "--control=unix:@hotseat"]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no file, and so no mode"), "{text}");
}

/// `[::]` is IPv6 alone, so that `0.0.0.0` with the same port is another address; both stay.
#[test]
fn ipv6_is_v6only_after_upgrades() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return hotseat_test_support::tool::skip("there is no IPv6 here");
    }
    // A port that was free for both a moment ago; whoever was faster, another one is tried.
    let start = |_| {
        let v4 = free_address();
        let (port, v6) = (v4.port(), format!("[::]:{}", v4.port()));
        std::net::TcpListener::bind(&v6).ok()?;
        Some((port, whoami().listen(&[&v4.to_string(), &v6]).start()))
    };
    let (port, host) = (0..10).find_map(start).expect("a free port");
    let listeners = procfs::listeners(host.pid());
    let v6 = std::net::SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    let mut kept = Connection::open(v6).unwrap();
    for _ in 0..2 {
        let (old, new) = upgrade(&host);
        host.wait_gone(old);
        assert_eq!(pid_of(&kept.get("/").unwrap()), new);
        assert_eq!(pid_of(&Connection::open(v6).unwrap().get("/").unwrap()), new);
        assert_eq!(pid_of(&host.get("/")), new);
        assert_eq!(procfs::listeners(host.pid()), listeners, "the same sockets");
    }
}
