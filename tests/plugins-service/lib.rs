//! A stock axum application: what authors write, with layers of tower-http around it. It knows nothing
//! of hotseat.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, DefaultBodyLimit, Form, MatchedPath, Multipart, OriginalUri, Path, Query,
        Request, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri, Version,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, UPGRADE},
    },
    response::{
        AppendHeaders, IntoResponse, Redirect, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, get, post},
};
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};

/// What all handlers share.
struct Shop {
    name: &'static str,
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Debug, Deserialize)]
struct Page {
    page: Option<u32>,
    word: String,
}

/// The application.
pub fn app() -> Router {
    let shop = Arc::new(Shop { name: "corner shop" });
    let nested = Router::new()
        .route("/inner/{id}", get(matched))
        .route("/uri", get(uris))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing nested") });
    let quick = Router::new().route("/slow", get(std::future::pending::<()>)).layer(
        TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(50)),
    );
    let packed = Router::new()
        .route("/packed", get(|| async { "all work and no play ".repeat(500) }))
        .layer(CompressionLayer::new());
    Router::new()
        .route("/", get(|| async { "hello" }).post(|| async { "posted" }))
        .route("/shop", get(|State(shop): State<Arc<Shop>>| async move { shop.name }))
        .route("/json", get(|| async { Json(Order { item: "tea".into(), count: 2 }) }))
        .route("/order", post(|Json(order): Json<Order>| async { Json(order) }))
        .route("/form", post(|Form(order): Form<Order>| async { Json(order) }))
        .route("/path/{id}/{*rest}", get(path))
        .route("/query", get(query))
        .route("/headers", get(headers))
        .route("/request", any(request))
        .route("/client", get(client))
        .route("/uri", get(uris))
        .route("/matched/{id}", get(matched))
        .route("/status/{code}", get(status))
        .route("/last", get(|| async { ([(CONNECTION, "close")], "the last one") }))
        .route("/phrase", get(phrase))
        .route("/hops", get(hops))
        .route("/away", get(|| async { Redirect::temporary("/shop") }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/echo", post(|body: Body| async { Response::new(body) }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/spawned", post(spawned))
        .route("/left", post(left))
        .route("/limited", post(|body: Bytes| async move { body.len().to_string() }))
        .layer(DefaultBodyLimit::max(1 << 20))
        .route("/multipart", post(multipart))
        .route("/events", get(events))
        .route("/pieces", get(pieces))
        .route("/trailers", get(trailers))
        .route("/sum", post(sum))
        .route("/greeter.Greeter/Greet", post(greet))
        .route("/blocking", get(blocking))
        .route("/task", get(task))
        .route("/in_place", get(|| async { tokio::task::block_in_place(|| "in place") }))
        .route("/socket", any(socket))
        .route("/shout", get(shout))
        .route("/panic", get(panics))
        .nest("/nested", nested)
        .merge(quick)
        .merge(packed)
        .layer(TraceLayer::new_for_http())
        .with_state(shop)
}

async fn path(Path((id, rest)): Path<(u32, String)>) -> String {
    format!("{id} {rest}")
}

async fn query(Query(Page { page, word }): Query<Page>) -> String {
    format!("{page:?} {word}")
}

async fn headers(headers: HeaderMap) -> impl IntoResponse {
    let mut seen: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    // A map's order is nobody's promise.
    seen.sort();
    let cookies = AppendHeaders([(SET_COOKIE, "a=1"), (SET_COOKIE, "b=2")]);
    (
        cookies,
        [("x-odd", "\u{e9}")]
            .map(|(name, value)| (name, value.as_bytes().to_owned()))
            .map(|(name, value)| (name, HeaderValue::from_bytes(&value).expect("it is visible"))),
        seen.join("\n"),
    )
}

async fn request(method: Method, uri: Uri, version: Version, headers: HeaderMap) -> String {
    let host = headers.get("host");
    format!("{method} {uri} {version:?} {host:?}")
}

async fn client(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    format!("{} {}", client.ip(), client.port() > 0)
}

async fn uris(OriginalUri(original): OriginalUri, uri: Uri) -> String {
    format!("{original} {uri}")
}

async fn matched(matched: MatchedPath, Path(id): Path<u32>) -> String {
    format!("{} {id}", matched.as_str())
}

async fn status(Path(code): Path<u16>) -> Response {
    StatusCode::from_u16(code).map_or_else(
        |error| (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        |status| (status, [(CONTENT_TYPE, "text/x-status")], "a status").into_response(),
    )
}

/// With words of its own behind the status.
async fn phrase() -> Response {
    let mut response = "a body".into_response();
    response.extensions_mut().insert(ReasonPhrase::from_static(b"All Is Well"));
    response
}

/// What is between a server and its client.
async fn hops() -> impl IntoResponse {
    ([("keep-alive", "timeout=7"), ("upgrade", "shout")], "a body")
}

/// Reads the body in a task of its own.
async fn spawned(body: Body) -> Result<String, StatusCode> {
    let read = async move { body.collect().await.map(|it| it.to_bytes().len()) };
    let read = tokio::spawn(read).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    read.map(|length| format!("{length}")).map_err(|_| StatusCode::BAD_REQUEST)
}

/// Answers at once, and leaves the body to a task.
async fn left(body: Body) -> &'static str {
    tokio::spawn(body.collect());
    "it is read later"
}

async fn multipart(mut parts: Multipart) -> Result<String, Response> {
    let mut seen = String::new();
    while let Some(part) = parts.next_field().await.map_err(IntoResponse::into_response)? {
        let (name, file) = (part.name().map(str::to_owned), part.file_name().map(str::to_owned));
        let bytes = part.bytes().await.map_err(IntoResponse::into_response)?;
        seen += &format!("{name:?} {file:?} {}\n", bytes.len());
    }
    Ok(seen)
}

/// Events with their own numbers, and comments where the next one is late.
async fn events() -> impl IntoResponse {
    let events = stream::iter(0..3).then(|number| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Event::default().id(number.to_string()).data("an event"))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(5)))
}

async fn pieces() -> Body {
    let pieces = stream::iter(["one ", "two ", "three"]).then(|piece| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(piece)
    });
    Body::from_stream(pieces)
}

async fn trailers() -> Response {
    let mut fields = HeaderMap::new();
    fields.insert("x-sum", HeaderValue::from_static("17"));
    let frames = [Frame::data(Bytes::from_static(b"a body")), Frame::trailers(fields)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// What the trailers of the request say.
async fn sum(body: Body) -> Result<String, StatusCode> {
    let whole = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let said = whole.trailers().and_then(|fields| fields.get("x-sum")).cloned();
    Ok(format!("{said:?} {}", whole.to_bytes().len()))
}

/// A call of gRPC without its library: a message in, a message out, and the status in trailers.
async fn greet(body: Bytes) -> Response {
    let name = body.get(5..).unwrap_or_default();
    let text = [b"hello ", name].concat();
    let length = u32::try_from(text.len()).expect("a short name").to_be_bytes();
    let message = [&[0][..], &length, &text].concat();
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from(message)), Frame::trailers(fields)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    ([(CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}

async fn blocking() -> String {
    let sum = tokio::task::spawn_blocking(|| (1..=100_u32).sum::<u32>()).await;
    format!("{sum:?}")
}

async fn task() -> String {
    let slept = tokio::spawn(async {
        // A timer that runs out, and is what is tried.
        let waits = tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>());
        waits.await.map_or("slept", |()| "woken")
    });
    format!("{:?}", tokio::time::timeout(Duration::from_secs(20), slept).await)
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["chat", "echo"]).on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answer = match message {
            Message::Text(text) if text == "bye" => break,
            Message::Text(_) | Message::Binary(_) => message,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        if socket.send(answer).await.is_err() {
            break;
        }
    }
}

/// A protocol of its own, taken over as hyper's users do: what comes goes back in upper case.
async fn shout(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let mut io = TokioIo::new(io);
        let (mut bytes, mut last) = ([0; 1024], Vec::new());
        while let Ok(count @ 1..) = io.read(&mut bytes).await {
            let piece = &mut bytes[..count];
            piece.make_ascii_uppercase();
            // A piece may end anywhere.
            last.extend_from_slice(piece);
            last.drain(..last.len().saturating_sub(3));
            if io.write_all(piece).await.is_err() || last == b"BYE" {
                break;
            }
        }
        // Whoever has gone hears no end.
        let _ = io.shutdown().await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "shout")]).into_response()
}

async fn panics() {
    panic!("as its route says");
}
