//! The `hotseat` binary: hands the command line what it needs, and nothing else.

use std::{ffi::OsString, process::ExitCode};

use hotseat::{
    cli::{
        self, Work,
        settings::{ServeSettings, serve_settings},
        trial,
    },
    config::raw::file::FileText,
    link::{ConfigFile, MASTER_FD, Settings},
    master,
    plugin::preflight,
    process,
};

fn main() -> ExitCode {
    // The next image of a master: it has parsed its command line already.
    if let Ok(number) = std::env::var(MASTER_FD) {
        return ExitCode::from(master::resume(&number));
    }
    let work = Work { serve, check: trial::run, preflight_child: preflight::child::main, worker };
    cli::run(std::env::args_os(), &work)
}

fn serve(args: Vec<OsString>, settings: ServeSettings) -> anyhow::Result<()> {
    if !settings.loaded.config.single {
        let file = ConfigFile { path: settings.file.path, text: settings.file.text };
        return Err(master::launch(args, Settings::of(&settings.loaded), file));
    }
    process::serve(settings.loaded.config)
}

fn worker(args: &[OsString]) -> anyhow::Result<()> {
    process::led::run(args, |args, file| {
        let file = FileText { path: file.path, text: file.text };
        match serve_settings(args, Some(file)) {
            Ok(settings) => Ok(settings.loaded),
            Err(error) => Err(Box::new(error)),
        }
    })
}
