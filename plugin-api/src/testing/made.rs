//! Handlers and services that a closure of the test makes.
//!
//! A handler is made by its type alone, so the closure waits beside: on the thread that makes it, for
//! as long as that takes.

use std::{any::Any, cell::RefCell, future::Future, marker::PhantomData};

use super::Host;
use crate::{Context, Error, Handler, Phase, Request, Response, Result, Signal, error::Reason};

thread_local! {
    static STASH: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Until it is dropped `made` can be taken by [`take`].
pub(super) struct Stash;

pub(super) fn stash(made: Option<Box<dyn Any>>) -> Stash {
    STASH.set(made);
    Stash
}

impl Drop for Stash {
    fn drop(&mut self) {
        drop(STASH.take());
    }
}

fn take<F: 'static>() -> Result<F> {
    let made = STASH.take().and_then(|made| made.downcast::<F>().ok());
    made.map(|made| *made).ok_or_else(|| Error::new("it is made by `Host` alone"))
}

/// A handler that a closure makes; see [`Host::made`].
#[derive(Debug)]
pub struct Made<F, H> {
    handler: H,
    by: PhantomData<fn() -> F>,
}

impl<F, H> Handler for Made<F, H>
where
    F: FnOnce(&Context) -> Result<H> + 'static,
    H: Handler,
{
    fn new(context: &Context) -> Result<Self> {
        let handler = take::<F>()?(context)?;
        Ok(Self { handler, by: PhantomData })
    }

    fn call(&self, request: Request<'_>) -> impl Future<Output = Result<Response>> {
        self.handler.call(request)
    }

    fn self_test(&self) -> impl Future<Output = Result<()>> {
        self.handler.self_test()
    }

    fn drain(&self) {
        self.handler.drain();
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        self.handler.signal(signal, phase);
    }

    fn stop(&self) {
        self.handler.stop();
    }
}

impl Host<()> {
    /// One for a handler that `make` makes instead of its `new`: with a double in it, say.
    pub fn made<F, E, H, How>(
        make: F,
    ) -> Host<Made<impl FnOnce(&Context) -> Result<H> + use<F, E, H, How>, H>>
    where
        F: FnOnce(&Context) -> Result<H, E> + 'static,
        E: Reason<How> + 'static,
        H: Handler,
        How: 'static,
    {
        let make = |context: &Context| make(context).map_err(Reason::into_error);
        made(make)
    }
}

/// Names the closure's type.
fn made<F, H>(make: F) -> Host<Made<F, H>>
where
    F: FnOnce(&Context) -> Result<H> + 'static,
    H: Handler,
{
    let mut host = Host::new();
    host.made = Some(Box::new(make));
    host
}

#[cfg(feature = "service")]
mod service {
    use http::Extensions;
    use tower_service::Service;

    use super::{Host, take};
    use crate::{
        Context, Handler, RequestInfo, Result, ServiceBody,
        error::Reason,
        service::{Adapter, Shared, prepare_nothing},
    };

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    impl Host<()> {
        /// One for the service that `app` makes, as by [`export_service!`](crate::export_service): a
        /// closure may have in it what the test needs. For an axum application
        /// [`axum_host!`](crate::axum_host) is the same, with what axum's extractors look for.
        pub fn service<F, S, E, B, How>(app: F) -> Host<impl Handler>
        where
            F: FnOnce(&Context) -> Result<S, E> + 'static,
            E: Reason<How> + 'static,
            How: 'static,
            S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
            S: Shared,
            S::Error: Into<BoxError>,
            B: http_body::Body + 'static,
            B::Error: Into<BoxError>,
        {
            Self::service_with(app, prepare_nothing)
        }

        /// As [`service`](Self::service); `prepare`, which captures nothing, adds to the extensions of
        /// each request what a framework's extractors look for.
        pub fn service_with<F, P, S, E, B, How>(app: F, prepare: P) -> Host<impl Handler>
        where
            F: FnOnce(&Context) -> Result<S, E> + 'static,
            E: Reason<How> + 'static,
            How: 'static,
            P: Fn(&mut Extensions, &RequestInfo) + Copy + Send + Sync + 'static,
            S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
            S: Shared,
            S::Error: Into<BoxError>,
            B: http_body::Body + 'static,
            B::Error: Into<BoxError>,
        {
            let make = |context: &Context| take::<F>()?(context).map_err(Reason::into_error);
            let mut host = of(make, prepare).runtime(true);
            host.made = Some(Box::new(app));
            host
        }
    }

    /// Names the types of two functions.
    fn of<F, P, S, How>(_: F, _: P) -> Host<Adapter<F, P, S, How>>
    where
        F: Fn(&Context) -> Result<S>,
        Adapter<F, P, S, How>: Handler,
    {
        Host::new()
    }
}
