//! C++ (libstdc++): a std::thread, a thread_local with a destructor and an exception in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

#[link(name = "work", kind = "static")]
#[link(name = "stdc++")]
unsafe extern "C" {
    fn work_in_cxx(number: i32) -> i32;
}

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        // SAFETY: takes a number and gives one; its exceptions stay inside.
        let got = unsafe { work_in_cxx(20) };
        Ok(Response::text(format!("{got}\n")))
    }
}

export_handler!(Plugin, name = "real");
