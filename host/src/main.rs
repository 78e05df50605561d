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
    log, master,
    plugin::preflight,
    process,
    sys::signals::ignore_writing,
};

fn main() -> ExitCode {
    // The next image of a master: it has parsed its command line already.
    let code = if let Ok(number) = std::env::var(MASTER_FD) {
        ignore_writing();
        ExitCode::from(master::resume(&number))
    } else {
        let work =
            Work { serve, check: trial::run, preflight_child: preflight::child::main, worker };
        cli::run(std::env::args_os(), &work)
    };
    log::flush();
    code
}

fn serve(args: Vec<OsString>, settings: ServeSettings) -> anyhow::Result<()> {
    ignore_writing();
    if !settings.loaded.config.single {
        let file = ConfigFile { path: settings.file.path, text: settings.file.text };
        return Err(master::launch(args, Settings::of(&settings.loaded), file));
    }
    process::serve(settings.loaded.config)
}

fn worker(args: &[OsString]) -> anyhow::Result<()> {
    ignore_writing();
    process::led::run(args, |args, file| {
        let file = FileText { path: file.path, text: file.text };
        match serve_settings(args, Some(file)) {
            Ok(settings) => Ok(settings.loaded),
            Err(error) => Err(Box::new(error)),
        }
    })
}
