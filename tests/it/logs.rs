//! The log and what is printed past it: lines that nobody takes stop nobody, and what was said last
//! is not lost.

mod cut;
mod lines;
mod records;
mod sinks;
