//! sysinfo: memory and processes of the machine.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut system = System::new();
        system.refresh_memory();
        let own = sysinfo::Pid::from_u32(std::process::id());
        let what = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), true, what);
        let known = system.total_memory() > 0 && system.process(own).is_some();
        Ok(Response::text(format!("{known}\n")))
    }
}

export_handler!(Plugin, name = "real");
