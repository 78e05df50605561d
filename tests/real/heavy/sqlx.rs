//! sqlx with SQLite in C: a pool, on a runtime kept as a field.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::runtime;

struct Plugin {
    pool: SqlitePool,
    runtime: runtime::Runtime,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = SqliteConnectOptions::new().in_memory(true);
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = runtime.block_on(pool.connect_with(options))?;
        runtime.block_on(sqlx::query("create table seen (path text)").execute(&pool))?;
        Ok(Self { pool, runtime })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let (pool, path) = (self.pool.clone(), request.path().to_owned());
        let asked = self.runtime.spawn(async move {
            sqlx::query("insert into seen (path) values (?)").bind(path).execute(&pool).await?;
            let one = sqlx::query_scalar::<_, i64>("select count(*) > 0 from seen");
            one.fetch_one(&pool).await
        });
        Ok(Response::text(format!("{}\n", asked.await??)))
    }
}

export_handler!(Plugin, name = "real");
