//! Bodies of requests that are read on other threads.

use hotseat_test_support::{fault, host};

/// A body whose pieces come late reaches a task on another thread whole; one that breaks off ends it.
#[test]
fn a_task_reads_what_comes_late() {
    let host = host!().with(fault("stock_app"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    connection
        .send("POST /spawned HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for size in [1_usize, 70_000, 3, 200_000] {
        let piece = "y".repeat(size);
        connection.send(format!("{size:x}\r\n{piece}\r\n")).unwrap();
    }
    connection.send("0\r\n\r\n").unwrap();
    let answer = connection.read_answer().unwrap();
    answer.assert_status(200);
    assert_eq!(answer.text(), "270004");
    // The same connection goes on.
    assert_eq!(connection.get("/shop").unwrap().text(), "corner shop");

    let mut torn = host.connect();
    torn.send("POST /spawned HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome").unwrap();
    torn.half_close().unwrap();
    torn.read_answer().unwrap().assert_status(400);
    host.get("/").assert_status(200);
}

/// A body that a task reads to its end behind the answer is no beginning of a head: the connection is
/// idle then, and not closed by the limit for heads.
#[test]
fn a_body_behind_its_answer_is_no_head() {
    let host =
        host!().arg("--header-time=300ms").with(fault("stock_app"), "libhandler_v1.so").start();
    let framings = [
        ("Content-Length: 8", "half", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n", "4\r\nhalf\r\n0\r\n\r\n"),
    ];
    let answered = framings.map(|(field, first, second)| {
        let mut connection = host.connect();
        let head = format!("POST /left HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        connection.send(head + first).unwrap();
        assert_eq!(connection.read_answer().unwrap().text(), "it is read later");
        connection.send(second).unwrap();
        connection
    });
    // One that began a head after them, and is over the limit.
    let mut late = host.connect();
    late.send("GET / HT").unwrap();
    late.read_answer().unwrap().assert_status(408);
    for mut connection in answered {
        assert_eq!(connection.get("/shop").unwrap().text(), "corner shop");
        // What follows is a head all the same.
        connection.send("GET /sh").unwrap();
        connection.read_answer().unwrap().assert_status(408);
    }
}
