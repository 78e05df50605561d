//! Two versions or two workers at one time, and rooms that outlive both.

use hotseat_test_support::{eventually, fault, plugin, start_host};

use super::{Member, builder, frames, readers, swap};

const ANN: &str = "/chat/rooms/lobby/socket?name=ann";
const ROOM: &str = "/v1/cells/chat/room:lobby";

/// The first socket is sent away at once and the second one later: until then it hears those of the
/// version that serves now, and they hear it.
#[test]
fn sockets_of_two_versions_are_in_one_room() {
    let host = builder("spread_ms = 60000").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    let mut old = Member::join(&host, "lobby", "old");
    ann.say("before");
    swap(&host, 2);
    ann.wait_for("before");
    ann.wait_closed();
    ann.come_back(ANN, host.data()).unwrap();
    ann.say("from the new one");
    old.wait_for("from the new one");
    old.say("from the old one");
    ann.wait_for("from the old one");
    assert_eq!(ann.heard, ["ann: before", "ann: from the new one", "old: from the old one"]);
    assert_eq!(old.heard, ann.heard);
}

/// What is sent before the close frame is read is said; the client's answer ends the socket.
#[test]
fn what_crosses_the_close_frame_counts() {
    let host = builder("spread_ms = 0").start();
    let mut late = frames::open(&host);
    let mut events = host.events();
    let generation = host.active("chat");
    swap(&host, 2);
    let mut ann = Member::join(&host, "lobby", "ann");
    // The close frame is on its way, and waits unread.
    late.send([0x81, 0x84, 0, 0, 0, 0, b'l', b'a', b't', b'e']).unwrap();
    ann.wait_for("late");
    assert_eq!(frames::closed(&mut late), 1012);
    events.wait_generation(generation, "unloaded");
}

/// While the next worker is watched, both have sockets, and topics of their own: each hears the other
/// from the cell, when a number is missing or with the next ping. Then those of the first are closed, and
/// come back to a whole room.
#[test]
fn sockets_of_two_workers_are_in_one_room() {
    let host = builder("ping_seconds = 2\nspread_ms = 0").arg("--soak-time=8s").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    ann.say("before");
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("soaking");
    // The first one may accept for a moment yet; each counts its own.
    let join = || Member::join(&host, "lobby", "bob");
    let mut bob = join();
    eventually!({
        let is_there = readers(&host) == 1;
        if !is_there {
            bob = join();
        }
        is_there
    });
    assert_eq!(bob.heard, ["ann: before"]);
    bob.say("from the new one");
    ann.say("from the old one");
    bob.wait_for("from the old one");
    assert!(host.process("soaking").is_some(), "all of that meanwhile");
    std::thread::scope(|scope| {
        // Who waits answers pings.
        let watched = scope.spawn(|| upgrading.wait().assert_code(0).clone());
        scope.spawn(|| bob.wait_for("here again"));
        ann.wait_closed();
        Member::join(&host, "lobby", "cy").say("to nobody");
        ann.come_back(ANN, host.data()).unwrap();
        ann.say("here again");
        watched.join().unwrap();
    });
    let all = ["before", "from the new one", "from the old one", "to nobody", "here again"];
    for member in [&ann, &bob] {
        let texts: Vec<_> = member.heard.iter().map(|it| it.split_once(": ").unwrap().1).collect();
        assert_eq!((texts, member.missed), (all.to_vec(), 0));
    }
    eventually!(readers(&host) == 2, "{}", readers(&host));
}

/// A room that an operator removes begins again, for those who are in it as well.
#[test]
fn a_removed_room_begins_again() {
    let host = builder("").start();
    let mut ann = Member::join(&host, "lobby", "ann");
    ann.say("a");
    ann.say("b");
    host.control().request("DELETE", ROOM, "", b"").assert_status(200);
    assert_eq!(Member::join(&host, "lobby", "bob").heard, Vec::<String>::new());
    ann.last = 0;
    ann.say("c");
    assert_eq!(ann.last, 1);
}

/// A version that cannot read the rooms is refused before it serves.
#[test]
fn rooms_that_cannot_be_read_refuse_a_version() {
    let host = start_host!();
    host.deploy(&fault("cells"), "libchat_v1.so").swapped();
    let mut connection = host.connect();
    connection.send_request("PUT", "/chat/room:lobby", "Content-Length: 4\r\n").unwrap();
    connection.send("else").unwrap();
    connection.read_answer().unwrap().assert_status(200);
    let deploy = || host.deploy(&plugin("chat"), "libchat_v2.so");
    let refused = deploy().assert_refused(422, "new_failed");
    let says = "the cell `room:lobby` cannot be read as JSON";
    assert!(refused.text.contains(says), "{}", refused.text);
    host.control().request("DELETE", ROOM, "", b"").assert_status(200);
    deploy().swapped();
}
