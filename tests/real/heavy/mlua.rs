//! mlua with Lua in C: a state of its own in each request; its errors jump.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use mlua::Lua;

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let lua = Lua::new();
        let sum: i64 = lua
            .load("local s = 0 for i = 1, 100 do s = s + i end return s")
            .eval()
            .map_err(Error::new)?;
        let caught = lua.load("error('on purpose')").exec().is_err();
        Ok(Response::text(format!("{sum} {caught}\n")))
    }
}

export_handler!(Plugin, name = "real");
