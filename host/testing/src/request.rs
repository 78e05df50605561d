//! A request that is made ready.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use crate::{
    Answer, Error, Result,
    client::{exchange, parse},
};

/// A request to a plugin in a host, on a connection of its own; from [`Running::get`] and its like.
///
/// [`Running::get`]: crate::Running::get
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `send`"]
pub struct RequestBuilder {
    address: SocketAddr,
    method: String,
    path: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    patience: Duration,
}

impl RequestBuilder {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str, patience: Duration) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { address, method, path, fields: Vec::new(), body: Vec::new(), patience }
    }

    /// One more header field. Without a `host` among them it is `localhost` with the port.
    /// `content-length` and `connection` are there already.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The body, whole.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The body as JSON, with its `content-type`.
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// Where there is none, or what is asked for is no request.
    pub fn send(self) -> Result<Answer> {
        let what = format!("{} {}", self.method, self.path);
        let wrong = |text: String| Error::new(format!("{what}: {text}"));
        let bytes = self.bytes().map_err(wrong)?;
        let answer = exchange(self.address, &bytes, self.patience);
        let answer = answer.map_err(|error| wrong(error.to_string()))?;
        parse(&answer, self.method == "HEAD").ok_or_else(|| {
            wrong(format!("no whole answer: `{}`", String::from_utf8_lossy(&answer)))
        })
    }

    /// As it goes over the wire.
    fn bytes(&self) -> std::result::Result<Vec<u8>, String> {
        let is_line = |part: &[u8]| !part.iter().any(|byte| b"\r\n\0".contains(byte));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        if !is_line(self.method.as_bytes()) || !is_line(self.path.as_bytes()) {
            return Err("neither method nor path has more than a line".to_owned());
        }
        let has_host = self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = format!("localhost:{}", self.address.port());
        let own = [
            ("host", host.as_str()),
            ("connection", "close"),
            ("content-length", &self.body.len().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_owned()));
        let own = own.iter().filter(|(name, _)| name != "host" || !has_host);
        for (name, value) in own.chain(&self.fields) {
            let is_name =
                !name.is_empty() && !name.contains([':', ' ']) && is_line(name.as_bytes());
            if !is_name || !is_line(value) {
                return Err(format!("`{}` is no header field", name.escape_default()));
            }
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        Ok([&head[..], b"\r\n", &self.body].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RequestBuilder {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        RequestBuilder::new(address, "PUT", "/x?y", Duration::from_secs(1))
    }

    #[test]
    fn a_request_has_the_fields_it_was_given() {
        let bytes = request().header("X-One", "a").header("x-one", [0xFF]).body("hi").bytes();
        let text = b"PUT /x?y HTTP/1.1\r\nhost: localhost:80\r\nconnection: close\r\n\
            content-length: 2\r\nX-One: a\r\nx-one: \xFF\r\n\r\nhi";
        assert_eq!(bytes.unwrap(), text);
        let own = request().header("Host", "shop.example").json(&Value::Null).bytes().unwrap();
        let own = String::from_utf8(own).unwrap();
        assert_eq!(own.matches("ost: ").count(), 1, "{own}");
        assert!(own.contains("Host: shop.example\r\n"), "{own}");
        assert!(own.ends_with("content-type: application/json\r\n\r\nnull"), "{own}");
    }

    #[test]
    fn what_is_no_request_is_not_sent() {
        for (name, value) in [("a\r\nb", "c"), ("a", "b\r\nc: d"), ("", "b"), ("a:", "b")] {
            let error = request().header(name, value).send().unwrap_err().to_string();
            assert!(
                error.starts_with("PUT /x?y: `") && error.contains("no header field"),
                "{error}"
            );
        }
    }
}
