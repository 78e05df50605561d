//! Messages that name the cause and the next step.
