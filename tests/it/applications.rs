//! The larger examples: what each of them promises.

mod chat;
