//! A WebSocket that says everything back.

use std::sync::Arc;

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
};

use super::App;

pub(super) async fn open(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| converse(app, socket))
}

/// Until the client closes or goes. At the drain notice it is told how many messages were said back;
/// what it has sent behind them is not.
async fn converse(app: Arc<App>, mut socket: WebSocket) {
    let mut said = 0_u64;
    loop {
        let came = tokio::select! {
            biased;
            () = app.context.draining() => break,
            came = socket.recv() => came,
        };
        match came {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
                said += 1;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
            Some(Err(_)) | None => return,
        }
    }
    let close = CloseFrame { code: close_code::RESTART, reason: said.to_string().into() };
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        // Until the client has closed as well.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
