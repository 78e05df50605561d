//! rusqlite with SQLite in C: a connection in memory, and one in each request, on the host's pool.

use std::sync::{Arc, Mutex, PoisonError};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use rusqlite::Connection;

struct Plugin {
    context: Context,
    database: Arc<Mutex<Connection>>,
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        let database = Connection::open_in_memory()?;
        database.execute_batch("create table seen (at integer primary key, path text not null)")?;
        Ok(Self { context: context.clone(), database: Arc::new(Mutex::new(database)) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let (database, path) = (self.database.clone(), request.path().to_owned());
        let counted = self.context.blocking(move || {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.execute("insert into seen (path) values (?1)", [&path])?;
            let other = Connection::open_in_memory()?;
            let one: i64 = other.query_row("select 1", [], |row| row.get(0))?;
            database
                .query_row("select count(*) > 0 from seen", [], |row| row.get::<_, i64>(0))
                .map(|some| some + one)
        });
        Ok(Response::text(format!("{}\n", counted.await??)))
    }
}

export_handler!(Plugin, name = "real");
