//! wasmtime: a WebAssembly module, compiled; its traps are faults that its handlers catch.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use wasmtime::{Engine, Instance, Module, Store};

/// `(module (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s))`
const DIV: [u8; 41] = [
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01,
    0x7f, 0x03, 0x02, 0x01, 0x00, 0x07, 0x07, 0x01, 0x03, 0x64, 0x69, 0x76, 0x00, 0x00, 0x0a, 0x09,
    0x01, 0x07, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6d, 0x0b,
];

struct Plugin {
    module: Module,
}

/// Its errors are no `std::error::Error`.
fn told(error: wasmtime::Error) -> Error {
    Error::new(format!("{error:#}"))
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { module: Module::new(&Engine::default(), DIV).map_err(told)? })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut store = Store::new(self.module.engine(), ());
        let instance = Instance::new(&mut store, &self.module, &[]).map_err(told)?;
        let div = instance.get_typed_func::<(i32, i32), i32>(&mut store, "div").map_err(told)?;
        let whole = div.call(&mut store, (84, 2)).map_err(told)?;
        let trapped = div.call(&mut store, (1, 0)).is_err();
        Ok(Response::text(format!("{whole} {trapped}\n")))
    }
}

export_handler!(Plugin, name = "real");
