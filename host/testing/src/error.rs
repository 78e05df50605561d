//! What can go wrong, as text that says what to do.

use std::{fmt, io};

use serde_json::Value;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not work.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    code: Option<String>,
    /// What else is known: the end of a log.
    more: String,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None, more: String::new() }
    }

    /// What the host has answered to an order.
    pub(crate) fn refused(json: &Value) -> Self {
        let error = &json["error"];
        let part = |name: &str| error[name].as_str().map(str::to_owned);
        let mut text = part("message").unwrap_or_else(|| json.to_string());
        if let Some(hint) = part("hint").filter(|hint| !hint.is_empty()) {
            text.push_str("\nhint: ");
            text.push_str(&hint);
        }
        Self { text, code: part("code"), more: String::new() }
    }

    pub(crate) fn with(mut self, log: &str) -> Self {
        if !log.is_empty() {
            self.more = format!("\n---- the host's log ends with\n{log}");
        }
        self
    }

    /// The host's code for what it has refused, `preflight_failed` say; it stays the same for ever.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What is wrong, without the log.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        write!(f, "{}{}", self.text, self.more)
    }
}

/// As it is printed: what a test's `unwrap` shows.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}
