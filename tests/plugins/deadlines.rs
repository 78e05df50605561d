//! Asks how long its answer may take, and whether its client is still there.
//!
//! `/left` answers the milliseconds that are left, `/forever` never; `/there` looks for the client once,
//! `/gone` waits for its end, `/keep` keeps such a wait beyond its request.

use std::{cell::RefCell, future::poll_fn, pin::pin, task::Poll};

use hotseat_plugin_api::{ClientGone, Context, Handler, Request, Response, Result, export_handler};

thread_local! {
    static KEPT: RefCell<Vec<ClientGone>> = const { RefCell::new(Vec::new()) };
}

struct Deadlines;

impl Handler for Deadlines {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/left" => {
                let left = request.time_left().map(|left| left.as_millis().to_string());
                let both = left.is_some() == request.deadline().is_some();
                Ok(Response::text(format!("{} {both}", left.as_deref().unwrap_or("none"))))
            }
            "/read" => {
                let before = request.time_left();
                let text = request.body().text(1024).await?;
                let moved = request.time_left() > before.map(|it| it / 2);
                Ok(Response::text(format!("{text} {moved}")))
            }
            "/there" => {
                let mut gone = pin!(request.client_gone());
                let now = poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx).is_ready())).await;
                Ok(Response::text(if now { "gone" } else { "there" }))
            }
            "/gone" => {
                request.client_gone().await;
                Ok(Response::text("gone"))
            }
            "/keep" => {
                let mut gone = Box::pin(request.client_gone());
                let now = poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx).is_ready())).await;
                KEPT.with_borrow_mut(|kept| kept.push(*std::pin::Pin::into_inner(gone)));
                Ok(Response::text(format!("{now}")))
            }
            _ => {
                request.context().draining().await;
                std::future::pending().await
            }
        }
    }
}

export_handler!(Deadlines);
