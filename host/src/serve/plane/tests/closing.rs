use super::*;

/// A plane that accepts, with its address.
fn serving(limits: Limits) -> (DataPlane, Vec<Socket>, SocketAddr) {
    let plane = plane("here", limits);
    let (sockets, address) = listen();
    plane.accept(&sockets).unwrap();
    (plane, sockets, address)
}

/// Returns once every thread has heard of it.
fn close(plane: &DataPlane) {
    plane.close();
    let _ = plane.classes();
}

#[track_caller]
fn check_last(connection: &mut Connection, answer: &Answer) {
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    connection.wait_closed().unwrap();
}

/// Whoever is there, and whoever comes, gets one more answer, which says that it is the last.
#[test]
fn each_answer_is_the_last() {
    let (plane, _sockets, address) = serving(patient());
    let connect = || Connection::open(address).unwrap();
    let (mut idle, mut fresh, mut half) = (connect(), connect(), connect());
    check_who(&mut idle, "here");
    check_who(&mut half, "here");
    half.send("GET /x HT").unwrap();
    eventually!(plane.classes().total() == 3 && plane.classes().head == 1, "{:?}", plane.classes());
    close(&plane);
    let mut late = connect();
    half.send("TP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = half.read_answer().unwrap();
    answer.assert_contains("gate 1");
    check_last(&mut half, &answer);
    for connection in [&mut idle, &mut fresh, &mut late] {
        let answer = connection.get("/health/readyz").unwrap();
        check_last(connection, &answer);
    }
    eventually!(plane.connection_count() == 0, "{:?}", plane.classes());
    plane.end();
}

/// A client of HTTP/1.0 that asked for it is not told two things at once.
#[test]
fn the_last_answer_of_http_1_0() {
    let (plane, _sockets, address) = serving(patient());
    let mut connection = Connection::open(address).unwrap();
    let request = "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    connection.send(request).unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    close(&plane);
    connection.send(request).unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "connection").count(), 1);
    check_last(&mut connection, &answer);
    plane.end();
}

/// What was in flight is answered as the last; what had its head out already is not the last.
#[test]
fn what_is_in_flight_ends_well() {
    let (plane, _sockets, address) = serving(patient());
    let (gate, stream_gate) = (Gate::new(), Gate::new());
    let mut held = Connection::open(address).unwrap();
    held.send_request("GET", &format!("/?{}", gate.query()), "").unwrap();
    let waiting = gate.entered();
    let mut stream = Connection::open(address).unwrap();
    stream.send_request("GET", &format!("/stream?{}", stream_gate.query()), "").unwrap();
    let head = stream.read_head().unwrap();
    let _ = stream.read_chunk().unwrap();
    close(&plane);
    waiting.release();
    let answer = held.read_answer().unwrap();
    check_last(&mut held, &answer);
    stream_gate.entered().release();
    stream.read_body(&head).unwrap();
    let answer = stream.get("/x").unwrap();
    check_last(&mut stream, &answer);
    plane.end();
}

/// Nobody who is idle is kept for longer than `idle_linger`, and none for less than four fifths.
#[test]
fn idle_connections_linger() {
    let linger = Duration::from_millis(500);
    let (plane, _sockets, address) = serving(Limits { idle_linger: linger, ..Limits::default() });
    let (mut idle, mut fresh) =
        (Connection::open(address).unwrap(), Connection::open(address).unwrap());
    check_who(&mut idle, "here");
    eventually!(plane.classes().fresh == 1, "{:?}", plane.classes());
    let begun = Instant::now();
    close(&plane);
    idle.wait_closed().unwrap();
    // The coarse clock's step.
    assert!(begun.elapsed() + Duration::from_millis(10) >= linger * 4 / 5, "{:?}", begun.elapsed());
    fresh.wait_closed().unwrap();
    drop((idle, fresh));
    eventually!(plane.connection_count() == 0, "{:?}", plane.classes());
    plane.end();
}

#[test]
fn without_lingering_they_end_at_once() {
    let limits = Limits { idle_linger: Duration::ZERO, ..Limits::default() };
    let (plane, _sockets, address) = serving(limits);
    let (mut idle, mut fresh) =
        (Connection::open(address).unwrap(), Connection::open(address).unwrap());
    check_who(&mut idle, "here");
    let gate = Gate::new();
    let mut held = Connection::open(address).unwrap();
    held.send_request("GET", &format!("/?{}", gate.query()), "").unwrap();
    let waiting = gate.entered();
    eventually!(plane.classes().fresh == 1, "{:?}", plane.classes());
    close(&plane);
    idle.wait_closed().unwrap();
    fresh.wait_closed().unwrap();
    waiting.release();
    let answer = held.read_answer().unwrap();
    check_last(&mut held, &answer);
    plane.end();
}

#[test]
fn a_cut_counts_and_answers() {
    let (plane, _sockets, address) = serving(patient());
    let (gate, stream_gate) = (Gate::new(), Gate::new());
    let mut held = Connection::open(address).unwrap();
    held.send_request("GET", &format!("/?{}", gate.query()), "").unwrap();
    let mut stream = Connection::open(address).unwrap();
    stream.send_request("GET", &format!("/stream?{}", stream_gate.query()), "").unwrap();
    let head = stream.read_head().unwrap();
    let _ = stream.read_chunk().unwrap();
    let waiting = gate.entered();
    assert_eq!(plane.cut_all(), 2);
    held.read_answer().unwrap().assert_error(503, "drain_timeout");
    waiting.wait_dropped();
    // With or without a length: what was cut must not look whole.
    stream.read_body(&head).expect_err("it was cut");
    assert_eq!(plane.cut_all(), 0);
    plane.end();
}

/// A parked plane goes on with what it has, and accepts again when it is told to.
#[test]
fn a_parked_plane_is_resumed() {
    let (plane, sockets, address) = serving(patient());
    let mut connection = Connection::open(address).unwrap();
    check_who(&mut connection, "here");
    assert!(plane.park());
    let mut waits = Connection::open(address).unwrap();
    waits.send_request("GET", "/x", "").unwrap();
    check_who(&mut connection, "here");
    assert_eq!(plane.come_count(), 1, "nobody accepts");
    plane.accept(&sockets).unwrap();
    waits.read_answer().unwrap().assert_status(200);
    assert!(plane.park());
    drop(sockets);
    assert!(Connection::open(address).is_err(), "no copy of the listener is left");
    check_who(&mut connection, "here");
    plane.end();
}
