//! The `hotseat` binary: hands the command line what it needs, and nothing else.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use hotseat::{
    cli::{
        self, Work,
        settings::{ServeSettings, serve_settings},
        trial,
    },
    config::raw::{Loaded, file::FileText},
    deploy::{
        desk::Refusal,
        settings::{Origin, remembered},
    },
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
    let ServeSettings { loaded, file } = settings;
    if loaded.config.single {
        let origin = Origin { file, reread: remembered(move || parse(&args, None)) };
        return process::serve(loaded.config, origin);
    }
    let file = ConfigFile::read_now(file.path, file.text);
    Err(master::launch(args, Settings::of(&loaded), file))
}

fn worker(args: &[OsString]) -> anyhow::Result<()> {
    ignore_writing();
    process::led::run(args, parse)
}

fn parse(args: &[OsString], file: Option<FileText>) -> Result<(Loaded, FileText), Refusal> {
    match serve_settings(args, file) {
        Ok(settings) => Ok((settings.loaded, settings.file)),
        Err(error) => Err(Arc::new(error)),
    }
}
