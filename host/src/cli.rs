//! The command line: what is typed, and what the shell gets back.
//!
//! Owns subcommands, their help, their exit codes, and which stream a text goes to: data to
//! standard output, everything else to standard error. Entry point: [`run`]. What runs inside this
//! process is handed in as [`Work`], so nothing here loads a library or binds a port.
//! Invariant: 0 done, 1 failed, 2 refused, 64 wrong usage, of `upgrade` 3 to 7, and of `serve` 3 for
//! a strict exit; nothing else, whatever clap says.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use self::{
    args::Cli, args::Command, check::CheckReport, settings::ServeSettings, settings::serve_settings,
};
use crate::{
    config::{Config, raw::file::warn_of_passed_over},
    deploy::desk::Refusal,
    error::{Coded, Kind, for_people},
    link, log,
    worker::{advice, whole},
};

pub mod args;
pub mod check;
mod children;
mod client;
mod remote;
pub mod settings;
pub mod trial;
mod upgrade;
mod whom;

/// Exit: it is done.
pub const DONE: u8 = 0;
/// Exit: it could not be done; trying again may help.
pub const FAILED: u8 = 1;
/// Exit: it was refused, and nothing changed.
pub const REFUSED: u8 = 2;
/// Exit: it was not understood. Source: sysexits.h, `EX_USAGE`.
pub const USAGE: u8 = 64;

/// What the commands that work inside this process do.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Runs a host until it is told to stop; the arguments followed `serve`.
    pub serve: fn(Vec<OsString>, ServeSettings) -> anyhow::Result<()>,
    /// Stages, verifies and preflights one library.
    pub check: fn(&Path, &Config) -> Result<CheckReport, Refusal>,
    /// The hidden child of a preflight; the arguments followed its name. Nothing else of the command
    /// line runs before it.
    pub preflight_child: fn(&[OsString]) -> ExitCode,
    /// The hidden worker of a master; the arguments followed `serve`.
    pub worker: fn(&[OsString]) -> anyhow::Result<()>,
}

/// Carries out one command line, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, work: &Work) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let rest = arguments.get(2..).unwrap_or_default();
    // No commands for people, so nothing of them is parsed or shown by clap.
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some(args::PREFLIGHT_CHILD) => return (work.preflight_child)(rest),
        Some(link::SETTINGS_CHILD) => return ExitCode::from(children::settings(rest)),
        Some(link::STAGE_CHILD) => return ExitCode::from(children::stage(rest)),
        Some(link::WORKER) => return ExitCode::from(ended((work.worker)(rest))),
        _ => {}
    }
    match parse(arguments.clone()) {
        Ok(cli) => ExitCode::from(dispatch(cli.command, rest, work)),
        Err(error) => {
            // A closed stream hides the text; the code still tells.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::from(DONE),
                _ => ExitCode::from(USAGE),
            }
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
}

/// The whole command line, for parsing, completions and manual pages.
fn command() -> clap::Command {
    // `check` takes the settings that a host would have; its help need not repeat them all.
    let command = Cli::command().mut_subcommand("check", |check| {
        let own = ["path", "json", "config"];
        check
            .mut_args(|arg| if own.contains(&arg.get_id().as_str()) { arg } else { arg.hide(true) })
    });
    // There `--config` is what the host is to have from now on.
    let help = "The configuration file that the host has now, whose `control` says where it is \
                [default: the one that `serve` would find]";
    command.mut_subcommand("upgrade", |upgrade| {
        upgrade.mut_arg("host_config", |arg| arg.long("host-config").help(help))
    })
}

fn dispatch(command: Command, rest: &[OsString], work: &Work) -> u8 {
    match command {
        Command::Serve(_) => serve(rest, work),
        Command::Check(args) => check::carry_out(*args, work),
        Command::Load(args) => remote::load(args),
        Command::Unload(args) => remote::unload(args),
        Command::Status(args) => remote::status(&args),
        Command::History(args) => remote::history(args),
        Command::Cells(args) => remote::cells(args),
        Command::Rollback(args) => remote::rollback(args),
        Command::Upgrade(args) => upgrade::upgrade(args),
        Command::ReloadConfig(args) => remote::reload_config(&args),
        Command::LameDuck(args) => upgrade::lame_duck(args),
    }
}

fn serve(args: &[OsString], work: &Work) -> u8 {
    let settings = match serve_settings(args, None) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, USAGE),
    };
    let loaded = &settings.loaded;
    if let Err(error) = log::start(&loaded.log, "hotseat") {
        explain(&error.to_string(), None);
        return FAILED;
    }
    if let Some(file) = &loaded.file {
        tracing::info!(file = %file.display(), "the configuration file is read");
    }
    // A master says it itself: what this image has logged may be lost with it.
    if loaded.config.single {
        warn_of_passed_over(settings.file.path.as_deref());
    }
    for warning in loaded.config.warnings() {
        tracing::warn!(%warning, "the settings do not fit each other");
    }
    ended((work.serve)(args.to_vec(), settings))
}

/// The exit code of what runs as long as a host does.
fn ended(result: anyhow::Result<()>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) => {
            // The whole chain in one line: what failed, then why.
            explain(&whole(&error), advice(&error).as_deref());
            FAILED
        }
    }
}

/// The exit code for an error of this kind.
fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Busy | Kind::Stopping | Kind::Host => FAILED,
        Kind::Input
        | Kind::Missing
        | Kind::Conflict
        | Kind::Condition
        | Kind::TooLarge
        | Kind::Refused => REFUSED,
    }
}

fn complain(error: &dyn Coded, exit: u8) -> u8 {
    tell(&for_people(&error.to_string(), error.hint().as_deref(), error.code()));
    exit
}

/// As [`complain`], to a master: of any release, which makes a sentence of it.
fn complain_to_master(error: &dyn Coded, exit: u8) -> u8 {
    explain(&error.to_string(), error.hint().as_deref());
    exit
}

/// What is wrong and what to do, on standard error.
fn explain(message: &str, hint: Option<&str>) {
    let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
    tell(&format!("{message}\n{hint}"));
}

/// Lines for standard error.
fn tell(lines: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Data, on standard output. `exit`, or [`FAILED`] when it cannot be written; a reader that has
/// read enough (`| head`) is no failure.
fn say(text: &str, exit: u8) -> u8 {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => {
            explain(&format!("cannot write to standard output: {error}"), None);
            FAILED
        }
    }
}

#[cfg(test)]
mod tests;
