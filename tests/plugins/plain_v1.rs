//! Answers `v1` and nothing else.

hotseat_test_plugins::plain!("v1");
