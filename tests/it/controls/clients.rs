//! The clients of upgrade tests against a host that does nothing special: what they find must be
//! nothing, and the test plugins do what they say.

use std::time::Duration;

use hotseat_test_support::{
    Host, Load, LoadPlan, eventually, fault, host, http2, library,
    stream::{Came, ServerEvents, Socket, SocketLoad},
    tool_or_skip,
    transfer::{Download, Upload, pattern_sum},
};

fn whoami() -> Host {
    host!().with(fault("whoami"), "libhandler_v1.so").start()
}

fn swap(host: &Host, label: u8) {
    let bytes = [library::bytes(&fault("whoami")), vec![label]].concat();
    host.deploy_bytes(&bytes, &format!("libhandler_v{label}.so")).swapped();
}

/// Swaps of the plugin cost nobody anything, whatever the protocol; each says who answers.
#[test]
fn all_clients_are_content() {
    let host = whoami();
    let plan = LoadPlan { post: "/?sleep=0.01".to_owned(), ..LoadPlan::default() };
    let load = Load::start(host.data(), plan);
    let h2 = http2::Http2Load::start(host.data(), http2::Http2Plan::default());
    for label in 2..5 {
        load.wait_for(200);
        h2.wait_for(100);
        swap(&host, label);
    }
    load.wait_for(200);
    let report = load.stop();
    report.assert_clean().assert_announced().assert_kept().assert_forward(&[host.worker_pid()]);
    assert_eq!(report.labels(), ["1", "2", "3", "4"].map(str::to_owned).into());
    let report = h2.stop();
    report.assert_clean();
    assert_eq!((report.connects, report.goaways, report.unsent), (4, 0, 0), "{report:?}");
    assert_eq!(report.pids, [host.worker_pid()].into());
}

/// `h2load` agrees.
#[test]
fn h2load_is_content() {
    let Some(program) = tool_or_skip("h2load", "nghttp2-client") else { return };
    let host = whoami();
    let report = http2::h2load(&program, &format!("http://{}/", host.data()), 500, 5, 10);
    assert_eq!((report.succeeded, report.failed), (500, 0), "{}", report.text);
}

/// WebSockets echo until the drain notice, are closed with 1012, and come back.
#[test]
fn websockets_come_back() {
    let host = whoami();
    let pace = Duration::from_millis(5);
    let load = SocketLoad::start(host.data(), "/ws?drain=now", 3, pace);
    eventually!(load.so_far().echoes > 30, "echoes: {:?}", load.so_far());
    swap(&host, 2);
    eventually!(load.so_far().codes == [1012; 3], "three closes: {:?}", load.so_far());
    let before = load.so_far().echoes;
    eventually!(load.so_far().echoes > before + 30, "echoes again: {:?}", load.so_far());
    let report = load.stop();
    assert!(report.broken.is_empty(), "{report:?}");
    assert_eq!(report.pids, vec![vec![host.worker_pid(); 2]; 3]);

    let mut socket = Socket::open(host.data(), "/ws").unwrap();
    assert_eq!(socket.who(), Ok(host.worker_pid()));
    socket.send("close 4001").unwrap();
    assert_eq!(socket.receive(), Came::Close(4001));
}

/// Events come until the drain notice, then `bye` and a proper end.
#[test]
fn events_end_properly() {
    let host = whoami();
    let mut events = ServerEvents::open(host.data(), "/?events=1&every=0.005").unwrap();
    let hello = events.receive().unwrap().unwrap();
    assert_eq!(hello.event, "hello");
    assert!(hello.data.contains(&format!("\"pid\":{}", host.worker_pid())), "{hello:?}");
    assert_eq!(events.receive().unwrap().unwrap().event, "tick");
    swap(&host, 2);
    assert_eq!(events.rest().unwrap().last().unwrap().event, "bye");
}

/// Bodies of 16 MiB both ways, half of them before a swap and half after it.
#[test]
fn large_bodies_come_whole() {
    const SIZE: u64 = (16 << 20) + 17;
    let host = whoami();
    let mut upload = Upload::begin(host.data(), "/", SIZE).unwrap();
    let mut download = Download::begin(host.data(), &format!("/?bytes={SIZE}")).unwrap();
    upload.send_up_to(SIZE / 2).unwrap();
    download.read_up_to(SIZE / 2).unwrap();
    swap(&host, 2);
    let answer = upload.finish().unwrap();
    assert_eq!(answer.header("x-label"), Some("1"), "who began it ends it");
    assert_eq!(download.finish().unwrap(), (SIZE, pattern_sum(SIZE)));
}

/// The `crash` plugin takes its process down in each way, in a request and by itself.
#[test]
fn crashes_happen() {
    for how in ["segv&after=0.01", "segv", "abort", "stack", "exit"] {
        let host = host!().with(fault("crash"), "libhandler_v1.so").start();
        let pid = host.worker_pid();
        let mut connection = host.connect();
        let answer = connection.get(&format!("/crash?how={how}"));
        assert_eq!(answer.is_ok(), how.contains("after"), "{how}: {answer:?}");
        host.wait_ended(pid);
    }
    let host = host!().config("[plugin.handler]\nafter_ms = 300\nhow = \"abort\"\n").start();
    let pid = host.worker_pid();
    host.deploy(&fault("crash"), "libhandler_v1.so").swapped();
    host.wait_ended(pid);
}
