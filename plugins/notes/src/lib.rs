//! Notes in a SQLite database, with a page.
//!
//! ```text
//! hotseat check target/plugins/libnotes.so
//! curl localhost:28000 -d target/plugins/libnotes.so
//! curl localhost:8080/notes                                         # the page, for a browser
//! curl localhost:8080/notes/api/notes --json '{"text": "buy milk"}' # 201, Location: /notes/api/notes/1
//! curl 'localhost:8080/notes/api/notes?after=0&limit=10'
//! curl localhost:8080/notes/api/notes/1
//! curl -X PUT localhost:8080/notes/api/notes/1 --json '{"text": "buy bread"}'
//! curl -X DELETE localhost:8080/notes/api/notes/1                   # 204
//! ```
//!
//! | `[plugin.notes]` | what | default |
//! |---|---|---|
//! | `database` | the file, on a local file system; it is made, its folder has to be there | `notes.db`, where the host was started |
//! | `note_bytes` | how long a note may be | `16384` |
//! | `busy_time` | how long a request, or a new version, waits for the database before it is 503, or refused | `"2s"` |
//!
//! # Within the host
//! - **Swap.** Versions that overlap have a copy of SQLite each, in one process, whose locks do not keep
//!   them apart: `database` says why that damages files, and has the lock that does. A note that was
//!   acknowledged is on the disk, and all versions see it.
//! - **Blocking.** Requests wait for the lock without a thread. Then one of them at a time runs on the
//!   host's pool, which is bounded: where it is full, they are 503. (`spawn_blocking` would queue without
//!   a limit, on threads of the version's own that have to end with it.)
//! - **State.** There is none besides: no pool, no connection that is kept, nothing to be done in the end.
//! - **Preflight.** It looks at the file and tries the migrations in memory; it makes and changes nothing.
//! - **Migrations.** They run when a version is made, while the one before still serves. So each of them
//!   only adds what that one need not know. Back to a version that does not know the schema is refused.

use std::{num::NonZero, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, OriginalUri, Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header::LOCATION},
    response::{Html, IntoResponse},
    routing::get,
};
use hotseat_plugin_api::{Context, Result, export_axum};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};

use crate::{database::Database, error::Error};

mod database;
mod error;
#[cfg(test)]
mod tests;

/// The schema is as many of them as have run. One that was released never changes.
const MIGRATIONS: &[&str] = &[
    "create table notes (id integer primary key autoincrement, text text not null, made text not null)",
    "alter table notes add column changed text",
];

/// Notes in one answer at most.
const LIMIT: u32 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    database: PathBuf,
    note_bytes: NonZero<u32>,
    // As the host's own times: `2s`, `500ms`.
    #[serde(with = "humantime_serde")]
    busy_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "notes.db".into(),
            note_bytes: const { NonZero::new(16 << 10).unwrap() },
            busy_time: Duration::from_secs(2),
        }
    }
}

struct Notes {
    context: Context,
    database: Database,
    note_bytes: usize,
}

impl Notes {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        Ok(self.database.with(&self.context, work).await?)
    }

    fn checked(&self, draft: Draft) -> Result<String, Error> {
        let refused = |text: String| Err(Error::Refused(StatusCode::UNPROCESSABLE_ENTITY, text));
        match draft.text.trim() {
            "" => refused("`text` is empty".to_owned()),
            text if text.len() > self.note_bytes => {
                refused(format!("`text` has {} bytes, {} are allowed", text.len(), self.note_bytes))
            }
            text => Ok(text.to_owned()),
        }
    }
}

/// What clients send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    text: String,
}

/// What they get.
#[derive(Serialize)]
struct Note {
    id: i64,
    text: String,
    made: String,
    changed: Option<String>,
}

impl Note {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (id, text, made, changed) = row.try_into()?;
        Ok(Self { id, text, made, changed })
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: i64,
    #[serde(default = "limit")]
    limit: u32,
}

fn limit() -> u32 {
    50
}

type Shared = State<Arc<Notes>>;

/// Notes behind `after`, the oldest first.
async fn list(
    State(notes): Shared,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<Note>>, Error> {
    let Query(page) = page?;
    let read = move |database: &Connection| {
        let sql = "select id, text, made, changed from notes where id > ?1 order by id limit ?2";
        let mut statement = database.prepare(sql)?;
        let rows = statement.query_map((page.after, page.limit.min(LIMIT)), Note::read)?;
        rows.collect()
    };
    notes.with(read).await.map(Json)
}

async fn create(
    State(notes): Shared,
    OriginalUri(uri): OriginalUri,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let text = notes.checked(draft?.0)?;
    let insert = move |database: &Connection| {
        let sql = "insert into notes (text, made) values (?1, strftime('%FT%TZ')) \
                   returning id, text, made, changed";
        database.query_row(sql, [text], Note::read)
    };
    let note = notes.with(insert).await?;
    // As the client sees it: the mount has taken its prefix away.
    let place = format!("{}/{}", uri.path(), note.id);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(note)))
}

async fn read(
    State(notes): Shared,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Note>, Error> {
    let Path(id) = id?;
    let read = move |database: &Connection| {
        let sql = "select id, text, made, changed from notes where id = ?1";
        database.query_row(sql, [id], Note::read).optional()
    };
    notes.with(read).await?.map(Json).ok_or(Error::NotFound)
}

async fn update(
    State(notes): Shared,
    id: Result<Path<i64>, PathRejection>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Json<Note>, Error> {
    let (Path(id), text) = (id?, notes.checked(draft?.0)?);
    let update = move |database: &Connection| {
        let sql = "update notes set text = ?2, changed = strftime('%FT%TZ') where id = ?1 \
                   returning id, text, made, changed";
        database.query_row(sql, (id, text), Note::read).optional()
    };
    notes.with(update).await?.map(Json).ok_or(Error::NotFound)
}

async fn delete(
    State(notes): Shared,
    id: Result<Path<i64>, PathRejection>,
) -> Result<StatusCode, Error> {
    let Path(id) = id?;
    let delete =
        move |database: &Connection| database.execute("delete from notes where id = ?1", [id]);
    match notes.with(delete).await? {
        0 => Err(Error::NotFound),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn app(context: &Context) -> Result<Router> {
    let Settings { database, note_bytes, busy_time } = context.config_as()?;
    let note_bytes = usize::try_from(note_bytes.get())?;
    // JSON may write a byte as `\u0041`.
    let body_bytes = note_bytes.saturating_mul(6).saturating_add(1024);
    let router = Router::new()
        .route("/", get(Html(include_str!("page.html"))))
        .route("/api/notes", get(list).post(create))
        .route("/api/notes/{id}", get(read).put(update).delete(delete))
        .fallback(|| async { Error::Refused(StatusCode::NOT_FOUND, "no such page".into()) })
        .method_not_allowed_fallback(|| async {
            Error::Refused(StatusCode::METHOD_NOT_ALLOWED, "no such method here".into())
        })
        .layer(DefaultBodyLimit::max(body_bytes));
    if context.is_preflight() {
        database::check(&database, busy_time, MIGRATIONS)?;
        // It is asked nothing.
        return Ok(Router::new());
    }
    let database = Database::open(&database, busy_time, MIGRATIONS)?;
    tracing::info!(database = %database.path().display(), "opened");
    Ok(router.with_state(Arc::new(Notes { context: context.clone(), database, note_bytes })))
}

export_axum!(app);
