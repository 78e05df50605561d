//! Leaves its address where nobody looks for one, as text in the environment.
//!
//! - `/leave` does so.
//! - `/follow` calls what lies at the address that somebody has left.
#![expect(unsafe_code, reason = "the fault is the purpose")]

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

const LEFT: &str = "HOTSEAT_TEST_LEFT";

struct LeadsAstray;

extern "C" fn answer() -> u32 {
    42
}

impl Handler for LeadsAstray {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/leave" => {
                let address = answer as *const () as usize;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "text in the environment is the purpose"
                )]
                // SAFETY: nobody else looks at the environment of this test's host.
                unsafe {
                    std::env::set_var(LEFT, address.to_string());
                };
                Ok(Response::text("left"))
            }
            "/follow" => {
                let address: usize = std::env::var(LEFT)?.parse()?;
                let address = std::ptr::with_exposed_provenance::<()>(address);
                // SAFETY: none, once whoever has left it is gone; the fault is the purpose.
                let called =
                    unsafe { std::mem::transmute::<*const (), extern "C" fn() -> u32>(address)() };
                Ok(Response::text(called.to_string()))
            }
            _ => Ok(Response::text("here")),
        }
    }
}

export_handler!(LeadsAstray);
