//! Starts a child for each request, and answers which sockets and which variables the child has.

use std::process::{Command, Stdio};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Parent {
    context: Context,
}

impl Handler for Parent {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let child = || {
            let mut command = Command::new("sh");
            command.args(["-c", "ls -l /proc/$$/fd; env"]).stdin(Stdio::null());
            command.output()
        };
        let output = self.context.blocking(child).await??;
        Ok(Response::text(String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

export_handler!(Parent);
