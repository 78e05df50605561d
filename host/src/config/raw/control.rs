//! Where a host is asked, as its configuration file says it, for a command that is not this host.
//!
//! Owns the one key that such a command needs. Invariant: nothing else in the file keeps a command
//! from its host: it may be of another release, or wrong just now, and that is the host's to say.

use serde::Deserialize;

use super::{
    ConfigError,
    address::ControlAt,
    file::{self, FileText},
};
use crate::config::Listen;

#[derive(Deserialize)]
struct OnlyControl {
    control: Option<Vec<ControlAt>>,
}

/// The addresses of `control` in `file`, as typed; `None`: it does not say.
///
/// # Errors
/// [`ConfigError::Parse`]: it is no TOML, or this key is not what it should be.
pub fn control_of(file: &FileText) -> Result<Option<Vec<Listen>>, ConfigError> {
    let OnlyControl { control } = file::parse(file)?;
    Ok(control.map(|list| list.into_iter().map(|ControlAt(at)| at).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Coded as _;

    fn of(text: &str) -> Result<Option<Vec<Listen>>, ConfigError> {
        let file = FileText { path: Some("/x.toml".into()), text: text.to_owned() };
        control_of(&file)
    }

    fn list(texts: &[&str]) -> Vec<Listen> {
        texts.iter().map(|it| it.parse::<ControlAt>().unwrap().0).collect()
    }

    #[test]
    fn one_key_is_read_and_the_rest_is_the_hosts() {
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of("colour = 1\n[limits]\nheader_time = 'never'").unwrap(), None);
        assert_eq!(of("control = []").unwrap(), Some(Vec::new()));
        let two = ["unix:run/control", "127.0.0.1:1"];
        let text = format!("threads = 'x'\ncontrol = {two:?}\n[plugin.shop]\ncontrol = ['y']");
        assert_eq!(of(&text).unwrap(), Some(list(&two)), "a path stays as it is typed");
    }

    #[test]
    fn what_no_host_would_take_is_told_with_its_line() {
        for (text, says) in [
            ("listen = [\ncontrol = 1", "/x.toml` is wrong at line 2, "),
            ("\ncontrol = ['unix:@name']", "/x.toml` is wrong at line 2, "),
            ("\ncontrol = ['0.0.0.0:1']", "is not a loopback address"),
            ("control = 'unix:x'", "expected a sequence"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.to_string().contains(says), "{says}: {error}");
            assert_eq!(error.code(), "config_invalid");
        }
    }
}
