//! What `[plugin.upstream]` says, as types. What does not fit refuses the deploy, with its line of the file.

use std::{
    num::{NonZeroU8, NonZeroU32},
    time::Duration,
};

use axum::http::{HeaderValue, Uri};
use reqwest::Url;
use serde::{Deserialize, Deserializer, de::Error as _};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) url: Base,
    #[serde(default = "connect_time", deserialize_with = "duration")]
    pub(crate) connect_time: Duration,
    #[serde(default = "time", deserialize_with = "duration")]
    pub(crate) time: Duration,
    #[serde(default = "tries")]
    pub(crate) tries: NonZeroU8,
    #[serde(default = "backoff", deserialize_with = "duration")]
    pub(crate) backoff: Duration,
    #[serde(default = "concurrency")]
    pub(crate) concurrency: NonZeroU32,
    pub(crate) token: Option<Token>,
}

fn connect_time() -> Duration {
    Duration::from_secs(1)
}

fn time() -> Duration {
    Duration::from_secs(10)
}

fn tries() -> NonZeroU8 {
    const { NonZeroU8::new(3).unwrap() }
}

fn backoff() -> Duration {
    Duration::from_millis(100)
}

fn concurrency() -> NonZeroU32 {
    const { NonZeroU32::new(256).unwrap() }
}

/// `250ms`, `2s`: as the host has its own.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    match humantime::parse_duration(&text) {
        Ok(Duration::ZERO) => Err(D::Error::custom("it has to be longer than nothing")),
        Ok(duration) => Ok(duration),
        Err(error) => Err(D::Error::custom(format!("`{text}` is no time such as `2s`: {error}"))),
    }
}

/// Where the upstream is, with a `/` at its end.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Base(String);

impl TryFrom<String> for Base {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        if url.scheme() != "http" {
            return Err(format!("`{text}` has to begin with `http://`"));
        }
        let more = [url.query(), url.fragment(), url.password()];
        if more.iter().any(Option::is_some) || !url.username().is_empty() {
            return Err(format!("`{text}` may have a host, a port and a path, and nothing else"));
        }
        Ok(Self(format!("{}/", url.as_str().trim_end_matches('/'))))
    }
}

impl Base {
    /// The same place below it. `None`: its `..` lead out of it.
    pub(crate) fn join(&self, uri: &Uri) -> Option<Url> {
        let below = uri.path_and_query().map_or("/", |it| it.as_str());
        let below = below.strip_prefix('/')?;
        let url = Url::parse(&format!("{}{below}", self.0)).ok()?;
        url.as_str().starts_with(&self.0).then_some(url)
    }
}

/// `Bearer` and the token, as a field that is printed nowhere.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Token(pub(crate) HeaderValue);

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(token: String) -> Result<Self, &'static str> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "it has characters that no header can have")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::Base;

    fn joined(base: &str, path: &str) -> Option<String> {
        let base = Base::try_from(base.to_owned()).expect("a base");
        base.join(&path.parse().expect("a path")).map(String::from)
    }

    #[test]
    fn paths_stay_below_their_base() {
        for (base, path, url) in [
            ("http://a", "/", Some("http://a/")),
            ("http://a:81/v1", "/x/y?z=%20&q", Some("http://a:81/v1/x/y?z=%20&q")),
            ("http://a/v1/", "//@b/", Some("http://a/v1//@b/")),
            ("http://a/v1", "/x/../y", Some("http://a/v1/y")),
            ("http://a/v1", "/../v10/x", None),
            ("http://a/v1", "/%2e%2E/secret", None),
            ("http://a/v1", "/x\\..\\..\\secret", None),
        ] {
            assert_eq!(joined(base, path).as_deref(), url, "{base} {path}");
        }
    }

    #[test]
    fn a_base_is_a_place_and_no_more() {
        for (text, why) in [
            ("a:80", "has to begin with `http://`"),
            ("https://a", "has to begin with `http://`"),
            ("/x", "is no URL"),
            ("http://me:pass@a", "nothing else"),
            ("http://a/?b", "nothing else"),
        ] {
            let error = Base::try_from(text.to_owned()).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
