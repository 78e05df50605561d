//! A tower service as a plugin: its requests, its answers, its life.
//!
//! Owns the adapter from a service to a [`Handler`], which the export macros name. Knows nothing of
//! any framework: `export_axum!` says in the author's crate what axum's extractors look for.
//! Invariants: the service is cloned for each request, as servers do; a request is made once, from
//! the host's bytes; what the service answers crosses as it is.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future as _, poll_fn},
    marker::PhantomData,
    net::SocketAddr,
    pin::pin,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Extensions, StatusCode, Uri, header};
use tower_service::Service;

use crate::{
    Context, Error, Handler, Request, Response, Result,
    abi::{Str, root::Root},
    error::Reason,
    export::{self, Place},
    request::Deadline,
};

mod body;
mod ladder;

use ladder::Ladder;

pub use body::ServiceBody;

type BoxError = Box<dyn StdError + Send + Sync>;

/// What a service may want to know of a request beyond HTTP: an extension of every request.
///
/// ```ignore
/// async fn page(Extension(info): Extension<RequestInfo>) -> String {
///     format!("generation {}", info.context().generation())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequestInfo {
    id: u64,
    peer: Option<SocketAddr>,
    context: Context,
    original: Option<Uri>,
    deadline: Option<Deadline>,
    /// Where it stands now, in nanoseconds, of a request with a body.
    moved: Option<Arc<AtomicU64>>,
}

impl RequestInfo {
    fn of(request: &Request<'_>) -> Result<Self> {
        let path = request.original_path();
        let original = match path == request.path() {
            true => None,
            false => Some(request.uri_of(path)?),
        };
        Ok(Self {
            id: request.id(),
            peer: request.peer_addr(),
            context: request.context().clone(),
            original,
            deadline: request.deadline_on_clock(),
            moved: None,
        })
    }

    /// The request's number, also in the host's status and log.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The client's address. `None` where it has none: it came over a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What is left of the time to the head of the answer, as the mount or the host allows it; without
    /// what the application has waited for its client's body. `None`: there is no limit, or an older
    /// host does not tell.
    ///
    /// The host is asked each time that the call is polled. A task of the application's own finds it as
    /// it was then.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let moved = self.moved.as_ref().map(|it| Deadline::from_nanos(it.load(Relaxed)));
        moved.or(self.deadline)?.time_left()
    }

    /// When that time is up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Some(Instant::now() + self.time_left()?)
    }

    /// The surroundings of the instance that answers: generation, drain, configuration.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What the client asked for, where a mount has taken a prefix of it away.
    #[must_use]
    pub fn original_uri(&self) -> Option<&Uri> {
        self.original.as_ref()
    }
}

/// `make`'s service as a handler; `prepare` adds what a framework's extractors look for. `How` an error
/// of `make` becomes one of ours is inferred.
pub struct Adapter<F, P, S, How> {
    service: S,
    made_by: PhantomData<MadeBy<F, P, How>>,
}

type MadeBy<F, P, How> = fn() -> (F, P, How);

/// What a service has to be beside a `tower::Service`. Data threads share it, and each clones it for its
/// requests, which would take a lock if it could not be shared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exported: a service has to be `Clone + Send + Sync + 'static`",
    label = "makes a service that is not `Clone + Send + Sync + 'static`",
    note = "`tower::util::BoxCloneService` is not `Sync`: `BoxCloneSyncService` is, and \
            `tower::buffer::Buffer` makes a service that is of any that is `Send`"
)]
pub trait Shared: Clone + Send + Sync + 'static {}

// So that the compiler tells of the trait, and what to do, instead of a `Sync` deep within.
#[diagnostic::do_not_recommend]
impl<S: Clone + Send + Sync + 'static> Shared for S {}

/// A function of no size, out of thin air: a function item or a closure that captures nothing.
#[expect(unsafe_code, reason = "makes a value that has no bytes")]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "only a function, or a closure that captures nothing") };
    // SAFETY: nothing is read. There is such a value, which may be copied: the macro was given one.
    unsafe { NonNull::<F>::dangling().read() }
}

impl<F, P, S, E, B, How> Handler for Adapter<F, P, S, How>
where
    F: Fn(&Context) -> std::result::Result<S, E> + Copy + Send + Sync + 'static,
    E: Reason<How>,
    How: 'static,
    P: Fn(&mut Extensions, &RequestInfo) + Copy + Send + Sync + 'static,
    S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
    S: Shared,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    fn new(context: &Context) -> Result<Self> {
        let make: F = conjure();
        let service = make(context).map_err(Reason::into_error)?;
        Ok(Self { service, made_by: PhantomData })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let mut service = self.service.clone();
        let failed = |error: S::Error| Error::from(error.into());
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
        let context = request.context();
        let later = request.deadline_later();
        let (request, moved) = prepared::<P>(request)?;
        let tell = move || {
            if let Some(moved) = &moved
                && let Some(deadline) = later()
            {
                moved.store(deadline.nanos(), Relaxed);
            }
        };
        // In a box of its own: what is kept over an await would be part of every request's future.
        if request.headers().contains_key(header::UPGRADE) {
            return Box::pin(upgradable(service, request, context, tell)).await;
        }
        let mut call = pin!(service.call(request));
        let answer = poll_fn(|cx| {
            tell();
            call.as_mut().poll(cx)
        });
        Ok(Response::from(answer.await.map_err(failed)?))
    }
}

/// The request as the service gets it; and of one with a body, where the service looks for the end of its
/// time.
fn prepared<P>(request: Request<'_>) -> Result<(http::Request<ServiceBody>, Option<Arc<AtomicU64>>)>
where
    P: Fn(&mut Extensions, &RequestInfo) + Copy,
{
    let mut info = RequestInfo::of(&request)?;
    let request = request.into_http()?;
    // Only who waits for a body has it moved.
    let has_body = request.body().remaining() != Some(0);
    let moved = info.deadline.filter(|_| has_body).map(|it| Arc::new(AtomicU64::new(it.nanos())));
    info.moved.clone_from(&moved);
    let mut request = request.map(ServiceBody::new);
    let prepare: P = conjure();
    prepare(request.extensions_mut(), &info);
    request.extensions_mut().insert(info);
    Ok((request, moved))
}

/// Asks a service that may answer with an upgrade; `tell` is called before each of its polls.
async fn upgradable<S, B>(
    mut service: S,
    mut request: http::Request<ServiceBody>,
    context: &Context,
    tell: impl Fn(),
) -> Result<Response>
where
    S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    let (ladder, asked) = Ladder::raise(context.clone()).await?;
    request.extensions_mut().insert(asked);
    let mut call = pin!(service.call(request));
    let answer = poll_fn(|cx| {
        tell();
        call.as_mut().poll(cx)
    });
    let response = Response::from(answer.await.map_err(|error| Error::from(error.into()))?);
    Ok(match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => response.into_upgrade(move |io| ladder.climb(io)),
        _ => response,
    })
}

impl<F, P, S, How> fmt::Debug for Adapter<F, P, S, How> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").finish_non_exhaustive()
    }
}

/// The entry of a library whose plugin is a service: for the export macro, which cannot name the types
/// of the two functions. Neither has a byte, which is checked where they are made again.
#[doc(hidden)]
#[must_use]
pub const fn root<F, P, S, E, How, O>(manifest: Str, _: F, _: P, _: &O) -> Root
where
    F: Fn(&Context) -> std::result::Result<S, E> + Copy,
    P: Fn(&mut Extensions, &RequestInfo) + Copy,
    Adapter<F, P, S, How>: Handler,
    O: Place,
{
    export::root_of::<O::Of<Adapter<F, P, S, How>>>(manifest)
}

/// Adds nothing to a request.
#[doc(hidden)]
pub fn prepare_nothing(_: &mut Extensions, _: &RequestInfo) {}
