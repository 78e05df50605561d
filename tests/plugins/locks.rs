//! Keeps a file locked by `flock` for as long as it is there, as a database with one owner does.
//!
//! Its configuration is `file`, which is made if there is none.
#![expect(unsafe_code, reason = "calls `flock`")]

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use serde::Deserialize;

#[derive(Deserialize)]
struct Settings {
    file: String,
}

struct Locks {
    _locked: File,
}

impl Handler for Locks {
    fn new(context: &Context) -> Result<Self> {
        let Settings { file } = context.config_as()?;
        let locked = OpenOptions::new().append(true).create(true).open(&file)?;
        // SAFETY: the descriptor is open.
        if unsafe { libc::flock(locked.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = Error::from(io::Error::last_os_error());
            return Err(error.context(format_args!("lock `{file}`")));
        }
        Ok(Self { _locked: locked })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("has it"))
    }
}

export_handler!(Locks);
