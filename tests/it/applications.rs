//! The larger example plugins, which `make examples` builds: what each promises, and over a swap.

mod chat;
mod databases;
mod notes;
mod upstream;
