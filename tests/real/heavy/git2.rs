//! git2 with libgit2 in C: a repository in memory, a blob in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let database = git2::Odb::new()?;
        database.add_new_mempack_backend(100)?;
        let id = database.write(git2::ObjectType::Blob, request.path().as_bytes())?;
        Ok(Response::text(format!("{id} {}\n", database.exists(id))))
    }
}

export_handler!(Plugin, name = "real");
