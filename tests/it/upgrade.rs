//! The upgrade of the process: another one takes the seat while the listeners stay, and whatever
//! goes wrong on the way there, the one before goes on.
//!
//! Owns what the scenarios share: a host that says who answers, and requests that are held as long
//! as a test wants.

use std::{fs::File, net::SocketAddr, path::PathBuf};

use hotseat_test_support::{
    Answer, Builder, Connection, Host, eventually, fault, host, procfs, wire,
};

mod addresses;
mod binaries;
mod image;
mod limits;
mod outcome;
mod requests;
mod settings;
mod soak;
mod stopping;

/// A host whose `handler` v1 says who answers. A new worker is watched for a moment only.
fn builder() -> Builder {
    soaking("100ms")
}

/// As [`builder`], but a new worker is watched for so long; [`FOREVER`]: until the test ends.
fn soaking(time: &str) -> Builder {
    let builder = host!().arg(format!("--soak-time={time}")).arg("--idle-linger=200ms");
    builder.with(fault("whoami"), "libhandler_v1.so")
}

/// For [`soaking`].
const FOREVER: &str = "30min";

/// The process that answered.
#[track_caller]
fn pid_of(answer: &Answer) -> u32 {
    answer.assert_status(200);
    answer.header("x-pid").and_then(|text| text.parse().ok()).expect("`x-pid`")
}

/// The number of the worker that serves: one more than there were commits.
#[track_caller]
fn serving_number(host: &Host) -> u64 {
    host.wait_role("serving").number
}

/// How the last upgrade ended, as the status says.
#[track_caller]
fn last_verdict(host: &Host) -> Option<String> {
    host.status()["upgrade"]["verdict"].as_str().map(ToOwned::to_owned)
}

/// Nothing but the master and one worker is there, and nothing waits to be reaped.
#[track_caller]
fn assert_one_worker(host: &Host, pid: u32) {
    eventually!(procfs::children(host.pid()) == [pid], "{pid} alone, not {:?}", host.processes());
    let roles = || host.processes().into_iter().map(|it| it.role).collect::<Vec<_>>();
    eventually!(roles() == ["master", "serving"], "two processes, not {:?}", host.processes());
}

/// A request that a worker has, and whose answer waits for the rest of its body.
struct Slow(Connection);

impl Slow {
    /// Returns once the plugin reads the body.
    #[track_caller]
    fn start(address: SocketAddr) -> Self {
        let mut connection = Connection::open(address).unwrap();
        let headers = "Content-Length: 4\r\nExpect: 100-continue\r\n";
        connection.send_request("POST", "/", headers).unwrap();
        assert_eq!(connection.read_line().unwrap(), "HTTP/1.1 100 Continue");
        assert_eq!(connection.read_line().unwrap(), "");
        Self(connection)
    }

    /// Sends the body: who answered.
    #[track_caller]
    fn finish(mut self) -> u32 {
        self.0.send("slow").unwrap();
        let answer = self.0.read_answer().unwrap();
        assert_eq!(answer.header("x-length"), Some("4"));
        pid_of(&answer)
    }
}

/// A hook that ends when the test wants it to.
struct Hook(PathBuf);

impl Hook {
    /// The command goes into the file `name` of the host's folder.
    fn new(builder: &Builder, name: &str) -> Self {
        let path = builder.home().path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        Self(path)
    }

    /// For `--hook`.
    fn command(&self) -> String {
        format!("cat {}", self.0.display())
    }

    /// Waits until it runs; it ends when the file is dropped.
    fn runs(&self) -> File {
        File::options().write(true).open(&self.0).unwrap()
    }
}

/// What `/v1/status` says of the addresses.
#[track_caller]
fn listen(host: &Host) -> Vec<String> {
    let list = wire::list(&host.status(), "/listen");
    list.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}
