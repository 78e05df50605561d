//! Readers that do not read: nobody waits for them, and nothing piles up for them.

use hotseat_test_support::{Host, eventually, procfs};
use serde_json::Value;

use super::{Member, builder, frames, readers};

const MESSAGES: u64 = 1500;
const BYTES: usize = 8000;

/// 12 MB, heard by whoever says them, while the other one in the room reads nothing.
#[track_caller]
fn flood(host: &Host) {
    let mut loud = Member::join(host, "lobby", "loud");
    assert_eq!(readers(host), 2);
    let before = procfs::rss_kib(host.worker_pid());
    for number in 0..MESSAGES {
        loud.say(&format!("{number:04}{}", "z".repeat(BYTES - 4)));
        loud.heard.clear();
    }
    assert_eq!((loud.last, loud.missed), (MESSAGES, 0));
    let after = procfs::rss_kib(host.worker_pid());
    assert!(after < before + 32 * 1024, "{before} to {after} KiB for a flood of 12 MB");
}

/// It gets what the sockets on the way hold, hears how many it has missed, and has the room's end.
#[test]
fn who_reads_late_hears_what_is_missing() {
    let builder = builder("history = 20\nmessage_bytes = 8000\nping_seconds = 250");
    // However long the flood takes here.
    let host = builder.env("HOTSEAT_BODY_GAP", "1h").start();
    let mut mute = frames::open(&host);
    flood(&host);
    let (mut heard, mut missed, mut last) = (0, 0, 0);
    while last < MESSAGES {
        let (opcode, payload) = frames::receive(&mut mute);
        if opcode != 1 {
            continue;
        }
        let room: Value = serde_json::from_slice(&payload).unwrap();
        let gap = room["missed"].as_u64().unwrap();
        missed += gap;
        last += gap;
        for message in room["messages"].as_array().unwrap() {
            last += 1;
            heard += 1;
            assert_eq!(message["number"], last, "in their order");
        }
    }
    assert_eq!(heard + missed, MESSAGES);
    assert!(missed > 0, "the sockets on the way hold 12 MB");
}

#[test]
fn who_never_reads_is_let_go() {
    let host = builder("history = 20\nmessage_bytes = 8000\nping_seconds = 1").start();
    let mute = frames::open(&host);
    flood(&host);
    eventually!(readers(&host) == 0, "both have left: {}", readers(&host));
    drop(mute);
}

/// The drain does not wait for one, either.
#[test]
fn who_never_reads_does_not_hold_its_version() {
    let host = builder("history = 20\nmessage_bytes = 8000\nspread_ms = 0").start();
    let mute = frames::open(&host);
    flood(&host);
    super::swap(&host, 2);
    host.assert_all_unloaded("chat");
    drop(mute);
}
