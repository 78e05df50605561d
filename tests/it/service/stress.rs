//! Everything that a plugin can do, under clients that do it all at once and break off: `make stress`
//! goes on where this ends.

use hotseat_test_support::{
    host,
    stress::{Plan, run},
};

/// No answer is wrong, none is missing, and nothing is left.
#[test]
fn nobody_gets_a_wrong_answer_and_nothing_is_left() {
    let outcome = run(host!(), &Plan { seconds: 5, seed: 1, clients: 4 });
    let (lines, broken) = (outcome.lines.join("\n"), outcome.broken.join("\n"));
    assert!(outcome.is_good(), "{lines}\n{} broken:\n{broken}", outcome.broken_count);
}
