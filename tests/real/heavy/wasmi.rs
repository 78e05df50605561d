//! wasmi: a WebAssembly module, interpreted.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use wasmi::{Engine, Linker, Module, Store};

/// `(module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))`
const ADD: [u8; 41] = [
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01,
    0x7f, 0x03, 0x02, 0x01, 0x00, 0x07, 0x07, 0x01, 0x03, 0x61, 0x64, 0x64, 0x00, 0x00, 0x0a, 0x09,
    0x01, 0x07, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6a, 0x0b,
];

struct Plugin {
    module: Module,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { module: Module::new(&Engine::default(), ADD)? })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut store = Store::new(self.module.engine(), ());
        let linker = Linker::new(self.module.engine());
        let instance = linker.instantiate_and_start(&mut store, &self.module)?;
        let add = instance.get_typed_func::<(i32, i32), i32>(&store, "add")?;
        Ok(Response::text(format!("{}\n", add.call(&mut store, (40, 2))?)))
    }
}

export_handler!(Plugin, name = "real");
