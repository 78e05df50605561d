//! Meets a request's body, and answers, in every way that the edge of a host has to stand.
//!
//! - `?read=HOW` is what becomes of the body: `ignored` (never asked for), `dropped` (taken, not
//!   read), `piece` (one piece is read), `all`, `held` (taken, and kept as `keep` says), `woken`
//!   and `freed` (read by wakers of its own, see [`wakers`], and so is an upgraded connection),
//!   `polled` (asked for a piece once), `stashed` (those of the thread's stash are read instead).
//! - `?keep=WHERE` is where a body that was taken stays: `owner` (of the answer's bytes), `stream`
//!   (of the answer), `converse` (of an upgrade), `stash` (a thread-local). Else it is let go of
//!   before the answer. `stashed`: the answer's bytes own what was stashed on their thread before.
//! - `?answer=KIND`: `bytes` (the default), `known` (a stream with its length), `chunked`,
//!   `trailers`, `empty`, `back` (the body itself), `early` (a first piece before the body is
//!   read), `events` (as `early`, as the type says), `fails` (behind a first piece), `error`, `panic`, `never`, `upgrade` (echoes), `loop` (blocks its thread for good).
//! - `?status=CODE`, `?size=BYTES` of the answer, `?length=BYTES` that it claims, `?id=TEXT` comes
//!   back as `x-id`.
//! - `?block=MILLIS&at=PLACE` has a destructor that blocks its thread: at the end of the `call`, of
//!   the answer's `bytes` or its `stream`. `?unstash=1` empties the thread's stash.
//! - Every answer names its data thread in `x-thread` and counts what was read in `x-length`.

use std::time::{Duration, Instant};

use hotseat_plugin_api::{
    Body, Bytes, Context, Handler, HeaderMap, HeaderValue, Io, Request, Response, Result,
    export_handler,
};

mod ask;
mod kept;
mod wakers;

use ask::{Answer, Ask, Keep, Read};

struct Edge;

/// What became of the body.
#[derive(Default)]
struct Met {
    length: usize,
    trailers: usize,
    /// It was taken and not let go of.
    rest: Option<Body>,
}

/// Blocks its thread where it is dropped, as no destructor may.
struct Blocks(Duration);

impl Drop for Blocks {
    fn drop(&mut self) {
        let end = Instant::now() + self.0;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(rest);
        }
    }
}

impl Handler for Edge {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let ask = Ask::of(&request)?;
        let _blocks = ask.block("call").map(Blocks);
        if ask.unstash {
            drop(kept::stashed());
        }
        let context = request.context();
        let early = matches!(ask.answer, Answer::Early | Answer::Events);
        let mut met = if early { Met::default() } else { meet(&request, &ask).await? };
        if let Some(time) = ask.wait {
            context.sleep(time).await;
        }
        if early {
            met.rest = Some(request.body());
        }
        let length = HeaderValue::from(met.length);
        let trailers = HeaderValue::from(met.trailers);
        let response = answer(context, &ask, met).await?;
        let response = response
            .with_header("x-thread", thread_name())
            .with_header("x-length", length)
            .with_header("x-trailers", trailers);
        let response = match ask.status {
            Some(status) => response.with_status(status),
            None => response,
        };
        let response = match ask.length {
            Some(length) => response.with_header("content-length", length.to_string()),
            None => response,
        };
        Ok(match &ask.id {
            Some(id) => response.with_header("x-id", id.as_str()),
            None => response,
        })
    }
}

/// The name that the host gave to this thread.
fn thread_name() -> String {
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    name.trim_end().to_owned()
}

async fn meet(request: &Request<'_>, ask: &Ask) -> Result<Met> {
    let mut met = Met::default();
    let mut body = match ask.read {
        Read::Ignored => return Ok(met),
        Read::Woken | Read::Freed => {
            met.length = wakers::read(request.body(), ask.read == Read::Woken).await?;
            return Ok(met);
        }
        Read::Stashed => {
            met.length = kept::read_stashed().await?;
            return Ok(met);
        }
        Read::Dropped | Read::Piece | Read::All | Read::Held | Read::Polled => request.body(),
    };
    match ask.read {
        Read::Polled => met.length = wakers::poll_once(&mut body).await,
        Read::Piece => met.length = body.next().await?.map_or(0, |piece| piece.len()),
        Read::All => {
            while let Some(piece) = body.next().await? {
                met.length += piece.len();
            }
            met.trailers = body.trailers().map_or(0, HeaderMap::len);
        }
        _ => {}
    }
    if ask.keep != Keep::Nowhere || ask.answer == Answer::Back {
        met.rest = Some(body);
    }
    Ok(met)
}

async fn answer(context: &Context, ask: &Ask, met: Met) -> Result<Response> {
    let size = ask.size;
    let mut rest = met.rest;
    if ask.keep == Keep::Stash {
        // Stays until the thread's end, or until somebody empties the stash.
        if let Some(body) = rest.take() {
            kept::keep(body).stash();
        }
    }
    let blocks = ask.block("stream").map(Blocks);
    let stream = ask.keep == Keep::Stream;
    let (of_stream, of_owner) = if stream { (rest, None) } else { (None, rest) };
    Ok(match ask.answer {
        Answer::Bytes if ask.keep == Keep::Stashed => {
            Response::bytes(kept::owned(size, Some(kept::stashed()), None::<()>))
        }
        Answer::Bytes => {
            let ticket = of_owner.filter(|_| ask.keep == Keep::Owner).map(kept::keep);
            Response::bytes(kept::owned(size, ticket, ask.block("bytes").map(Blocks)))
        }
        Answer::Fails => fails(kept::owned(size, Some(kept::stashed()), None::<()>)),
        Answer::Known => {
            written(size, (of_stream, blocks)).with_header("content-length", size.to_string())
        }
        Answer::Chunked => written(size, (of_stream, blocks)),
        Answer::Trailers => Response::streaming(move |mut out| async move {
            let _held = (of_stream, blocks);
            out.send(kept::letters(size)).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from(size));
            out.trailers(trailers).await;
            Ok(())
        })
        .with_header("trailer", "x-sum"),
        Answer::Empty => Response::empty(),
        Answer::Back => {
            of_owner.map_or_else(Response::empty, Response::stream).with_header("trailer", "x-sum")
        }
        Answer::Early => early(of_owner),
        Answer::Events => early(of_owner).with_header("content-type", "text/event-stream"),
        Answer::Error => return Err(hotseat_plugin_api::Error::new("as was asked for")),
        Answer::Panic => panic!("as was asked for"),
        Answer::Never => {
            context.sleep(Duration::from_secs(3600)).await;
            Response::empty()
        }
        Answer::Loop => loop {
            std::thread::park_timeout(Duration::from_secs(1));
        },
        Answer::Mute => Response::upgrade("echo", |io| async move {
            let _io = io;
            std::future::pending().await
        }),
        Answer::Upgrade if ask.keep == Keep::Stash => Response::upgrade("echo", |io| async {
            kept::keep(io).stash();
            Ok(())
        }),
        Answer::Upgrade if matches!(ask.read, Read::Woken | Read::Freed) => {
            let when_woken = ask.read == Read::Woken;
            Response::upgrade("echo", move |io| wakers::converse(io, when_woken))
        }
        Answer::Upgrade => {
            let held = of_owner.filter(|_| ask.keep == Keep::Converse);
            Response::upgrade("echo", move |io| echo(io, held))
        }
    })
}

/// A stream that owns `held` for as long as it lives.
fn written<T: 'static>(size: usize, held: T) -> Response {
    Response::streaming(move |mut out| async move {
        let _held = held;
        let mut left = size;
        while left > 0 {
            let piece = left.min(kept::PIECE);
            left -= piece;
            out.send(kept::letters(piece)).await;
        }
        Ok(())
    })
}

fn fails(piece: Bytes) -> Response {
    Response::streaming(move |mut out| async move {
        out.send(piece).await;
        Err(hotseat_plugin_api::Error::new("as was asked for"))
    })
}

fn early(body: Option<Body>) -> Response {
    Response::streaming(move |mut out| async move {
        out.send("early;").await;
        let mut length = 0;
        if let Some(mut body) = body {
            while let Some(piece) = body.next().await? {
                length += piece.len();
            }
        }
        out.send(format!("{length}")).await;
        Ok(())
    })
}

async fn echo(mut io: Io, _held: Option<Body>) -> Result<()> {
    let mut piece = [0; 1024];
    loop {
        let count = io.read(&mut piece).await?;
        if count == 0 {
            return Ok(io.shutdown().await?);
        }
        io.write_all(&piece[..count]).await?;
        io.flush().await?;
    }
}

export_handler!(Edge);
