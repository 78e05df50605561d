//! An HTTP answer as a test looks at it.

use std::io;

/// Status, headers and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// In order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it was sent, decoded from chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads a status line and header lines.
    ///
    /// # Errors
    /// `InvalidData` when they are none.
    pub fn parse(lines: &[String]) -> io::Result<Self> {
        let wrong = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}`"));
        let first = lines.first().map(String::as_str).unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| wrong(first))?;
        let headers = lines.iter().skip(1).map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| wrong(line))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self { status, headers: headers.collect::<io::Result<_>>()?, body: Vec::new() })
    }

    /// The first value of `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The host's own code for an answer that no plugin made.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.header("hotseat-error")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {} {}", self.status, self.text()),
        }
    }

    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// # Panics
    /// When it is not the host's own answer with this status and code.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> &Self {
        self.assert_status(status);
        assert_eq!(self.error_code(), Some(code), "{:?} {}", self.headers, self.text());
        self
    }

    /// # Panics
    /// When the body does not contain `text`.
    #[track_caller]
    pub fn assert_contains(&self, text: &str) -> &Self {
        assert!(self.text().contains(text), "no `{text}` in: {} {}", self.status, self.text());
        self
    }
}
