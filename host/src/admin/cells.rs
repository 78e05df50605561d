//! What plugins keep: shown, and removed.
//!
//! Owns the pages below `/v1/cells`. Any worker of the host answers for all of them, since the cells
//! are the same in each; nothing here is an order, so nothing waits for one.

use axum::{
    Extension,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};

use super::{
    Backend,
    answer::Form,
    fault::Fault,
    order::{named, plugin_name},
    serve::{Connection, peer_of},
    text, wire,
};
use crate::{
    cells::{CellError, CellStore as _, When},
    ids::PluginName,
};

/// A plugin and a key, as a path names them.
type Place = Result<Path<(String, String)>, PathRejection>;

/// `GET /v1/cells`: who has how many.
pub(super) async fn all(State(host): State<Backend>, form: Form) -> Response {
    let status = (host.outline)();
    form.answer(StatusCode::OK, || text::cells(&status.cells), || wire::Cells::new(&status.cells))
}

/// `GET /v1/cells/PLUGIN`: its keys.
pub(super) async fn keys(
    State(host): State<Backend>,
    form: Form,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    let listed = named(name).and_then(|plugin| {
        let list = host.cells.list(&plugin).map_err(|error| Fault::of(&error))?;
        if list.is_empty() { Err(nothing(&plugin)) } else { Ok((plugin, list)) }
    });
    match listed {
        Ok((plugin, list)) => form.answer(
            StatusCode::OK,
            || text::keys(&list),
            || wire::Keys::new(plugin.as_str(), &list),
        ),
        Err(fault) => fault.answer(form),
    }
}

/// `GET /v1/cells/PLUGIN/KEY`: one value.
pub(super) async fn value(State(host): State<Backend>, form: Form, place: Place) -> Response {
    let found = place_of(place).and_then(|(plugin, key)| {
        let found = host.cells.get(&plugin, &key).map_err(|error| Fault::of(&error))?;
        let value = found.ok_or_else(|| no_key(&plugin, &key))?;
        Ok((plugin, key, value))
    });
    match found {
        Ok((plugin, key, value)) => form.answer(
            StatusCode::OK,
            || text::value(&value),
            || wire::Cell::new(plugin.as_str(), &key, &value),
        ),
        Err(fault) => fault.answer(form),
    }
}

/// `DELETE /v1/cells/PLUGIN`: all of a plugin.
pub(super) async fn remove_all(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    let removed = named(name).and_then(|plugin| {
        let count = host.cells.clear(&plugin).map_err(|error| Fault::of(&error))?;
        if count == 0 { Err(nothing(&plugin)) } else { Ok((plugin, count)) }
    });
    removed_answer(form, from, removed)
}

/// `DELETE /v1/cells/PLUGIN/KEY`: one value.
pub(super) async fn remove(
    State(host): State<Backend>,
    from: Option<Extension<Connection>>,
    form: Form,
    place: Place,
) -> Response {
    let removed = place_of(place).and_then(|(plugin, key)| {
        match host.cells.get(&plugin, &key) {
            Ok(None) => return Err(no_key(&plugin, &key)),
            // That is how a damaged one goes.
            Ok(Some(_)) | Err(CellError::Damaged(_)) => {}
            Err(error) => return Err(Fault::of(&error)),
        }
        let done = host.cells.change(&plugin, &key, When::Always, None);
        done.map_err(|error| Fault::of(&error))?;
        Ok((plugin, 1))
    });
    removed_answer(form, from, removed)
}

fn removed_answer(
    form: Form,
    from: Option<Extension<Connection>>,
    removed: Result<(PluginName, usize), Fault>,
) -> Response {
    let (plugin, count) = match removed {
        Ok(removed) => removed,
        Err(fault) => return fault.answer(form),
    };
    let by = peer_of(from).map(|peer| peer.to_string());
    tracing::info!(plugin = plugin.as_str(), count, by, "cells are removed by hand");
    let many = if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
    let text = format!("{many} of {plugin} removed");
    form.answer(
        StatusCode::OK,
        || format!("{text}\n"),
        || wire::Removed::new(plugin.as_str(), count, &text),
    )
}

fn place_of(place: Place) -> Result<(PluginName, String), Fault> {
    // What cannot even be decoded is no name.
    let (plugin, key) = place.map(|Path(place)| place).unwrap_or_default();
    Ok((plugin_name(&plugin)?, key))
}

fn nothing(plugin: &PluginName) -> Fault {
    let message = format!("there are no cells of `{plugin}`");
    Fault::new(StatusCode::NOT_FOUND, "no_cells", message, "`hotseat cells` lists who has any")
}

fn no_key(plugin: &PluginName, key: &str) -> Fault {
    let message = format!("`{plugin}` has no cell `{key}`");
    let hint = format!("`hotseat cells {plugin}` lists them");
    Fault::new(StatusCode::NOT_FOUND, "no_such_cell", message, hint)
}
