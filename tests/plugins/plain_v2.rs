//! Answers `v2` and nothing else.

hotseat_test_plugins::plain!("v2");
