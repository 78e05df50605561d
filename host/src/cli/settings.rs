//! The settings of a host, for a process that is not the one whose command line was typed.
//!
//! Owns the way from the arguments of `hotseat serve` to its settings, so that a worker and a check
//! of a new binary understand exactly what the command would. Starts no log and serves nothing.

use std::{ffi::OsString, iter};

use super::{args::Command, parse};
use crate::{
    config::raw::{
        ConfigError, Loaded,
        file::{FileText, Surroundings, find_and_read},
    },
    error::{Coded, Kind},
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The arguments are not those of `hotseat serve`. Several lines.
    #[error("{0}")]
    Usage(clap::Error),
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Coded for SettingsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "wrong_usage",
            Self::Config(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            // Clap's text has one already.
            Self::Usage(_) => None,
            Self::Config(error) => error.hint(),
        }
    }
}

/// What `hotseat serve` would run with.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Understood.
    pub loaded: Loaded,
    /// The file as it was read, for processes that are to have the same.
    pub file: FileText,
}

/// What `hotseat serve ARGS` would run with. With `text` nothing is looked for or read, whatever
/// `--config` says; without it the file is found as the command would find it.
///
/// # Errors
/// See [`SettingsError`].
pub fn serve_settings(
    args: &[OsString],
    text: Option<FileText>,
) -> Result<ServeSettings, SettingsError> {
    let typed = iter::once("hotseat").chain(iter::once("serve")).map(OsString::from);
    let cli = parse(typed.chain(args.iter().cloned()).collect()).map_err(SettingsError::Usage)?;
    let Command::Serve(args) = cli.command else {
        // The second word is `serve`, and clap has no way back to another command.
        let error = clap::Error::raw(clap::error::ErrorKind::InvalidSubcommand, "not `serve`\n");
        return Err(SettingsError::Usage(error));
    };
    let around = Surroundings::of_this_process();
    let file = match text {
        Some(file) => file,
        None => find_and_read(args.config.as_deref(), &around)?,
    };
    let loaded = args.settings.load_text(&file, &around)?;
    Ok(ServeSettings { loaded, file })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings(args: &[&str], text: Option<FileText>) -> Result<ServeSettings, SettingsError> {
        serve_settings(&args.iter().map(OsString::from).collect::<Vec<_>>(), text)
    }

    #[test]
    fn a_given_text_wins_over_the_named_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"threads = 3\nsingle = true").unwrap();
        let path = file.path().to_owned();
        let named = ["--threads=5", "--config", path.to_str().unwrap()];
        let found = settings(&named, None).unwrap();
        assert_eq!((found.loaded.config.threads, found.loaded.config.single), (5, true));
        let text = "threads = 3\nsingle = true".to_owned();
        assert_eq!(found.file, FileText { path: Some(path.clone()), text });
        let text = FileText { path: Some(path.clone()), text: "lame_status = 404".to_owned() };
        let given = settings(&named, Some(text.clone())).unwrap();
        assert_eq!((given.loaded.config.lame_status, given.loaded.config.single), (404, false));
        assert_eq!((given.file, given.loaded.file), (text, Some(path.clone())));
        // There was none: nobody looks again.
        let none = settings(&named, Some(FileText::default())).unwrap();
        assert_eq!((none.loaded.config.single, none.loaded.file), (false, None));
    }

    #[test]
    fn what_serve_refuses_is_refused_alike() {
        let wrong = |args: &[&str], text: Option<FileText>| {
            let error = settings(args, text).unwrap_err();
            (error.code(), error.to_string())
        };
        let (code, text) = wrong(&["--header-time", "10"], None);
        assert_eq!(code, "wrong_usage");
        assert!(text.contains("`10` has no unit"), "{text}");
        assert_eq!(wrong(&["--help"], None).0, "wrong_usage");
        let (code, _) = wrong(&["--config", "/nowhere/hotseat.toml"], None);
        assert_eq!(code, "config_unreadable");
        let bad = FileText { path: Some("/x.toml".into()), text: "colour = 1".to_owned() };
        let (code, text) = wrong(&[], Some(bad));
        assert_eq!(code, "config_invalid");
        assert!(text.starts_with("the configuration `/x.toml` is wrong at line 1, column 1: "));
    }
}
