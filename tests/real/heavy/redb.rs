//! redb: a database in memory, a transaction in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use redb::{Database, TableDefinition, backends::InMemoryBackend};

const SEEN: TableDefinition<'_, u64, &str> = TableDefinition::new("seen");

struct Plugin {
    database: Database,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { database: Database::builder().create_with_backend(InMemoryBackend::new())? })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let writing = self.database.begin_write()?;
        writing.open_table(SEEN)?.insert(1, request.path())?;
        writing.commit()?;
        Ok(Response::text("written\n"))
    }
}

export_handler!(Plugin, name = "real");
