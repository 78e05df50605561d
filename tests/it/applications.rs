//! The larger examples, as their documentation promises them.

mod notes;
