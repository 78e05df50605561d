//! What outlives a version: cells, changed by requests, tasks and periodic work.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use hotseat_plugin_api::{Cell, CellError, Result};
use serde::Deserialize;

use super::{Answer, App, failed};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Update,
    SetIf,
    Json,
    Pool,
}

#[derive(Deserialize)]
pub(super) struct Count {
    by: By,
}

fn one_more(old: Option<&[u8]>) -> String {
    let old = old.and_then(|it| std::str::from_utf8(it).ok()?.parse::<u64>().ok());
    (old.unwrap_or(0) + 1).to_string()
}

fn update(cell: &Cell) -> Result<String, CellError> {
    let now = cell.update(one_more)?;
    Ok(String::from_utf8_lossy(&now.value).into_owned())
}

/// As [`Cell::update`] does, by hand.
fn set_if(cell: &Cell) -> Result<String, CellError> {
    loop {
        let (version, new) = match cell.get()? {
            Some(now) => (now.version, one_more(Some(&now.value))),
            None => (0, one_more(None)),
        };
        match cell.set_if(version, &new) {
            Ok(_) => return Ok(new),
            Err(CellError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// One more; how many there are.
pub(super) async fn count(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    Query(Count { by }): Query<Count>,
) -> Answer<String> {
    let cell = app.context.cell(&key);
    let now = match by {
        By::Update => update(&cell),
        By::SetIf => set_if(&cell),
        By::Json => {
            let now = cell.update_as(|old: Option<u64>| old.unwrap_or(0) + 1);
            now.map(|now| now.value.to_string())
        }
        By::Pool => app.context.blocking(move || update(&cell)).await.map_err(failed)?,
    };
    now.map_err(failed)
}

/// A value as it is; nothing where there is none.
pub(super) async fn read(State(app): State<Arc<App>>, Path(key): Path<String>) -> Answer<String> {
    let now = app.context.cell(&key).get().map_err(failed)?;
    Ok(now.map_or_else(String::new, |now| String::from_utf8_lossy(&now.value).into_owned()))
}

/// All that there are, one a line.
pub(super) async fn keys(State(app): State<Arc<App>>) -> Answer<String> {
    Ok(app.context.cells().map_err(failed)?.join("\n"))
}

#[derive(Deserialize)]
pub(super) struct Entry {
    entry: u64,
}

/// One entry more in a list, which is the answer.
pub(super) async fn append(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    Query(Entry { entry }): Query<Entry>,
) -> Answer<Json<Vec<u64>>> {
    let now = app.context.cell(&key).update_as(|old: Option<Vec<u64>>| {
        let mut list = old.unwrap_or_default();
        list.push(entry);
        list
    });
    Ok(Json(now.map_err(failed)?.value))
}

pub(super) async fn remove(State(app): State<Arc<App>>, Path(key): Path<String>) -> Answer<()> {
    app.context.cell(&key).remove().map_err(failed)
}

#[derive(Deserialize)]
pub(super) struct Spawn {
    ms: u64,
    /// By the host's timer, or by tokio's.
    host: bool,
    waits: bool,
}

/// A task that counts a while later, and says so in the topic `news`.
pub(super) async fn task(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    Query(Spawn { ms, host, waits }): Query<Spawn>,
) -> Answer<String> {
    let (context, later) = (app.context.clone(), Duration::from_millis(ms));
    let spawned = app.context.spawn(async move {
        match host {
            true => context.sleep(later).await,
            false => tokio::time::sleep(later).await,
        }
        let now = update(&context.cell(&key))?;
        context.topic("news")?.publish(format!("task {key} {now}"))?;
        Ok::<_, hotseat_plugin_api::Error>(())
    });
    let task = spawned.map_err(failed)?;
    if waits {
        task.await.map_err(failed)?;
        return Ok("done".to_owned());
    }
    drop(task);
    Ok("spawned".to_owned())
}

/// Counts, and says so in the topic `news`, with who it is.
pub(super) fn tick(app: &App) -> Result<()> {
    let now = update(&app.context.cell("ticks"))?;
    let (pid, generation) = (std::process::id(), app.context.generation());
    app.context.topic("news")?.publish(format!("tick {pid} {generation} {now}"))?;
    Ok(())
}
