//! The one error type of plugin code: a line of text.
//!
//! Owns the flattening of foreign errors. Knows nothing of HTTP or the ABI.
//! Invariant: it holds text only, so nothing of a plugin's types ever crosses to the host.

use std::fmt;

/// What a handler's methods return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not work, as text. `?` makes one of nearly any error that can be sent to another
/// thread (`anyhow`'s, `eyre`'s, `Box<dyn Error + Send + Sync>`, `&str`), its chain of sources included;
/// [`Error::of`] makes one of those that cannot (`Box<dyn Error>`).
///
/// It is not itself a [`std::error::Error`] (that would forbid the conversion); print it with `{}`.
/// What an application asks of its [`Context`](crate::Context) has errors that are, so that `?` takes
/// them in a function with `anyhow`'s or `eyre`'s results, too. There `map_err(anyhow::Error::msg)`
/// makes one of what a function with this type has failed with.
pub struct Error {
    text: Box<str>,
}

impl Error {
    /// An error that says `message`.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        Self { text: message.to_string().into_boxed_str() }
    }

    /// `error` and its sources, also of one that cannot be sent to another thread, which `?` does not
    /// take: `map_err(Error::of)`. That is `Box<dyn Error>`, and an error with a lock's guard in it.
    ///
    /// ```
    /// # use hotseat_plugin_api::{Error, Result};
    /// fn read() -> std::result::Result<String, Box<dyn std::error::Error>> {
    ///     Err("no such file")?
    /// }
    ///
    /// fn settings() -> Result<String> {
    ///     let text = read().map_err(Error::of)?;
    ///     Ok(text.to_uppercase())
    /// }
    /// # assert_eq!(settings().unwrap_err().to_string(), "no such file");
    /// ```
    #[must_use]
    pub fn of<'a>(error: impl Into<Box<dyn std::error::Error + 'a>>) -> Self {
        Self { text: chain(&*error.into()).into_boxed_str() }
    }

    /// The same error, with what was being done in front of it.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self::new(format_args!("{doing}: {}", self.text))
    }

    pub(crate) fn into_text(self) -> String {
        self.text.into_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?})", self.text)
    }
}

/// `anyhow` and `eyre`, boxed errors, texts, and every error of the standard kind, as long as they can
/// be sent to another thread. Those that cannot are [`Error::of`]'s: an `impl` for `Box<dyn Error>` beside
/// this one is refused by the compiler, because the standard library might some day make an error of the
/// other kind of it.
impl<'a, E: Into<Box<dyn std::error::Error + Send + Sync + 'a>>> From<E> for Error {
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error + Send + Sync + 'a> = error.into();
        Self { text: chain(&*error).into_boxed_str() }
    }
}

/// What the function that makes an application may fail with: what `?` takes, and `Box<dyn Error>`.
///
/// `How` keeps the two apart and is inferred, because nothing is both.
pub trait Reason<How> {
    /// As text.
    fn into_error(self) -> Error;
}

/// By `?`.
#[derive(Debug)]
pub struct Converted;

/// By [`Error::of`].
#[derive(Debug)]
pub struct Flattened;

impl<E: Into<Error>> Reason<Converted> for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

impl Reason<Flattened> for Box<dyn std::error::Error> {
    fn into_error(self) -> Error {
        Error::of(self)
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + '_)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many types repeat their source in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Error, Reason, Result};

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bad port")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn chain_is_flattened() {
        let inner = "x".parse::<u16>().expect_err("no number");
        let error = Error::from(Outer(inner)).context("read config");
        assert_eq!(error.to_string(), "read config: bad port: invalid digit found in string");
    }

    fn no_number() -> std::num::ParseIntError {
        "x".parse::<u16>().expect_err("no number")
    }

    /// By `?`, with their causes.
    #[test]
    fn errors_of_others_are_taken() {
        macro_rules! taken {
            ($error:expr) => {{
                let failed = || -> Result<()> { Ok(Err($error)?) };
                failed().expect_err("it has failed").to_string()
            }};
        }
        let whole = "read config: invalid digit found in string";
        assert_eq!(taken!(anyhow::Error::new(no_number()).context("read config")), whole);
        assert_eq!(taken!(eyre::Report::new(no_number()).wrap_err("read config")), whole);
        type Boxed = Box<dyn std::error::Error + Send + Sync>;
        assert_eq!(taken!(Boxed::from(no_number())), "invalid digit found in string");
        assert_eq!(taken!("a text"), "a text");
        assert_eq!(taken!("a text".to_owned()), "a text");
    }

    /// Those that cannot be sent to another thread.
    #[test]
    fn errors_that_stay_on_their_thread_are_taken() {
        type Boxed = Box<dyn std::error::Error>;
        let boxed = || Boxed::from(Outer(no_number()));
        let whole = "bad port: invalid digit found in string";
        assert_eq!(Error::of(boxed()).to_string(), whole);
        assert_eq!(Reason::into_error(boxed()).to_string(), whole);
        assert_eq!(Reason::into_error("a text").to_string(), "a text");
        assert_eq!(Reason::into_error(Error::new("its own")).to_string(), "its own");
        let lock = std::sync::Mutex::new(());
        let guard = std::sync::PoisonError::new(lock.lock());
        assert!(Error::of(guard).to_string().starts_with("poisoned lock"), "text alone");
    }
}
