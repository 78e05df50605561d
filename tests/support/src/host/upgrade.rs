//! Asking for an upgrade as people do: by the command, or over HTTP.

use std::process::{Child, Stdio};

use serde_json::Value;

use super::Host;
use crate::{client::Answer, eventually};

/// How `hotseat upgrade` ended.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Its exit status.
    pub code: Option<i32>,
    /// The object on its standard output; null if that was none.
    pub json: Value,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub error: String,
}

impl Upgrade {
    /// In a word: `committed`, `ready`, `preflight`, ..; empty when nothing was said.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.json["upgrade"]["verdict"].as_str().unwrap_or_default()
    }

    /// Everything that was said.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.output, self.error)
    }

    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// # Panics
    /// When it did not say that.
    #[track_caller]
    pub fn assert_says(&self, text: &str) -> &Self {
        assert!(self.text().contains(text), "no `{text}` in {self:#?}");
        self
    }
}

/// A `hotseat upgrade` that has not ended yet. Ended by its process id when dropped.
#[derive(Debug)]
pub struct Upgrading(Option<Child>);

impl Upgrading {
    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within patience.
    #[must_use]
    #[track_caller]
    pub fn wait(mut self) -> Upgrade {
        // What it says fits into its pipes.
        let mut ended = || self.0.as_mut().is_none_or(|it| !matches!(it.try_wait(), Ok(None)));
        eventually!(ended(), "the end of `hotseat upgrade`");
        let child = self.0.take().expect("it is waited for once");
        let output = child.wait_with_output().expect("wait for the command");
        Upgrade {
            code: output.status.code(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Host {
    /// `hotseat upgrade --json ARGS`, to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn upgrade(&self, args: &[&str]) -> Upgrade {
        self.begin_upgrade(args).wait()
    }

    /// `hotseat upgrade --json ARGS`, which goes on meanwhile.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn begin_upgrade(&self, args: &[&str]) -> Upgrading {
        let mut command = self.builder.command();
        command.args(["upgrade", "--json", "--control", &self.ready.control.to_string()]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        Upgrading(Some(command.spawn().expect("start `hotseat upgrade`")))
    }

    /// `POST /v1/upgrade`.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn post_upgrade(&self, body: &Value) -> Answer {
        self.control().post_json("/v1/upgrade", body)
    }
}
