//! The larger example plugins, which `make examples` builds: what each promises, and over a swap.

mod notes;
mod upstream;
