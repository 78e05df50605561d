//! Starts a child for each request, and answers which sockets and which variables the child has. At
//! `/fork` the child is a copy of the process that stays for a minute; its number is the answer.
#![expect(unsafe_code, reason = "forks")]

use std::process::{Command, Stdio};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Parent {
    context: Context,
}

impl Handler for Parent {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/fork" {
            return Ok(Response::text(stays().to_string()));
        }
        let child = || {
            let mut command = Command::new("sh");
            command.args(["-c", "ls -l /proc/$$/fd; env"]).stdin(Stdio::null());
            command.output()
        };
        let output = self.context.blocking(child).await??;
        Ok(Response::text(String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

fn stays() -> i32 {
    // SAFETY: the child does nothing but wait for its end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends it.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    child
}

export_handler!(Parent);
