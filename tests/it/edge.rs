//! The edge: whatever clients and plugins do there, the host goes on.
//!
//! Owns requests whose bodies nobody reads, clients that leave or stop, plugins that keep what is
//! not theirs, answers that are none. After each of them every data thread must turn, nobody be
//! held, and the connection go on where it was not said to end.

use hotseat_test_support::{Builder, fault, host};

mod matrix;

/// A host of two data threads whose plugin `edge` meets bodies and answers as it is asked to.
fn edge() -> Builder {
    host!().arg("--threads=2").with(fault("edge"), "libedge_v1.so")
}

/// What every data thread is asked for, and what a connection is asked for to see that it goes on.
const ALIVE: &str = "/edge?read=all&id=alive";
