//! The control plane as its clients see it: answers word for word, one module a concern.

mod events;
mod guard;
mod orders;
mod upgrade;
mod views;
