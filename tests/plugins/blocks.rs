//! A handler of blocking code: `/?gate=SOCKET` holds a thread of the pool until the test lets it go,
//! `/panics` panics, `/streams` answers what cannot come from there, everything else what it was sent.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use hotseat_plugin_api::{
    Blocking, BlockingHandler, Context, OwnedRequest, Response, Result, export_handler,
};

struct Blocks {
    context: Context,
}

impl BlockingHandler for Blocks {
    const BODY_LIMIT: usize = 1024;

    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    fn self_test(&self) -> Result<()> {
        Ok(())
    }

    fn call(&self, request: OwnedRequest) -> Result<Response> {
        if let Some(socket) = request.query_value("gate") {
            let mut stream = UnixStream::connect(&*socket)?;
            stream.read_exact(&mut [0])?;
            // The test has let it go; it may wait for this, too.
            let _ = stream.write_all(b"e");
            return Ok(Response::text(format!("let go {}", self.context.generation())));
        }
        match request.path() {
            "/panics" => panic!("as was asked for"),
            "/streams" => Ok(Response::streaming(|_| async { Ok(()) })),
            path => {
                // As the host calls it: the thread is none of this library's.
                let thread = std::fs::read_to_string("/proc/thread-self/comm")?;
                let body = String::from_utf8_lossy(request.body());
                Ok(Response::text(
                    format!("{} {path} {body} on {thread}", request.method()).trim().to_owned(),
                ))
            }
        }
    }

    fn stop(&self) {
        self.context.info("stopped", &[("generation", &self.context.generation())]);
    }
}

export_handler!(Blocking<Blocks>);
