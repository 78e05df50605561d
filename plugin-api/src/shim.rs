//! The functions behind a library's root module, one set for each handler type.
//!
//! Owns the instance that the host holds by pointer. Knows nothing of the file that exports it.
//! Invariant: every function catches panics, those of destructors too.
#![expect(unsafe_code, reason = "the entries of a library")]

use std::marker::PhantomData;

use crate::{
    Context, Handler, Phase, Request, Signal,
    abi::{self, Answer, Created, Done, Growing, InstanceVt, NewArgs, RequestHead, drain, poll},
    guard::{guard, report_panics_to},
    logging,
    owned::OwnedBytes,
    task,
};

#[cfg(feature = "tracing")]
use crate::{Response, Result, logging::OfRequest, within::Call};

struct Instance<H> {
    handler: H,
    context: Context,
}

/// # Safety
/// `instance` was made by [`new`] for the same `H` and is not dropped during `'a`.
unsafe fn instance_of<'a, H>(instance: *const ()) -> &'a Instance<H> {
    // SAFETY: the caller's promise.
    unsafe { &*instance.cast::<Instance<H>>() }
}

/// The surroundings of an instance.
///
/// # Safety
/// `instance` was made by [`new`] for the same `H` and is not dropped.
#[cfg(any(test, feature = "testing"))]
pub(crate) unsafe fn context_of<H: Handler>(instance: *const ()) -> Context {
    // SAFETY: the caller's promise.
    unsafe { instance_of::<H>(instance) }.context.clone()
}

/// [`abi::NewFn`] of `H`.
///
/// # Safety
/// As the ABI says: `args` is valid for the call, `out` has room for the result.
pub unsafe extern "C" fn new<H: Handler>(args: Growing<NewArgs>, out: *mut Created) -> u32 {
    // SAFETY: valid for the call; the first fields are there in every version.
    let (host, host_vt) = unsafe { ((*args.ptr).host, (*args.ptr).host_vt) };
    report_panics_to(host, host_vt);
    let made = guard(|| {
        // SAFETY: as above.
        let context = unsafe { Context::from_args(args.ptr) };
        logging::around(|| H::new(&context)).map(|handler| Box::new(Instance { handler, context }))
    });
    let (code, instance, error) = match made {
        Some(Ok(instance)) => {
            (poll::READY, Box::into_raw(instance).cast_const().cast(), OwnedBytes::EMPTY)
        }
        Some(Err(error)) => (poll::FAILED, std::ptr::null(), error.into_text().into()),
        None => (poll::PANICKED, std::ptr::null(), OwnedBytes::EMPTY),
    };
    // SAFETY: the caller's room.
    unsafe { out.write(Created { instance, error: error.into_abi() }) }
    code
}

/// [`abi::CallFn`] of `H`.
///
/// # Safety
/// As the ABI says: `instance` and `head` outlive the future.
pub unsafe extern "C" fn call<H: Handler>(
    instance: *const (),
    head: Growing<RequestHead>,
) -> abi::Future<Answer> {
    // SAFETY: the host holds a lease on the instance until the future is dropped.
    let instance = unsafe { instance_of::<H>(instance) };
    // SAFETY: the head lives until the future is dropped.
    let request = unsafe { Request::new(head.ptr, &instance.context) };
    let call = || {
        #[cfg(feature = "tracing")]
        {
            task::export(of_request(instance, request))
        }
        #[cfg(not(feature = "tracing"))]
        task::export(instance.handler.call(request))
    };
    guard(call).unwrap_or_else(task::panicked)
}

/// The call, all of which knows what request it is for.
#[cfg(feature = "tracing")]
fn of_request<'a, H: Handler>(
    instance: &'a Instance<H>,
    request: Request<'a>,
) -> impl Future<Output = Result<Response>> {
    Call::begin(OfRequest(request.id()), || instance.handler.call(request))
}

unsafe extern "C" fn self_test<H: Handler>(instance: *const ()) -> abi::Future<Done> {
    // SAFETY: as in `call`.
    let instance = unsafe { instance_of::<H>(instance) };
    guard(|| task::export(instance.handler.self_test())).unwrap_or_else(task::panicked)
}

unsafe extern "C" fn drain_notice<H: Handler>(instance: *const (), phase: u32) {
    // SAFETY: the instance is alive, as for every entry but `drop`.
    let instance = unsafe { instance_of::<H>(instance) };
    let last_call = phase == drain::LAST_CALL;
    guard(|| {
        if instance.context.drain().notify(last_call) {
            instance.handler.drain();
        }
    });
}

unsafe extern "C" fn signal<H: Handler>(instance: *const (), signal: u32, phase: u32) {
    // SAFETY: as in `drain_notice`.
    let instance = unsafe { instance_of::<H>(instance) };
    // A host that is newer than this build may know more of them.
    let told = Signal::from_abi(signal).zip(Phase::from_abi(phase));
    if let Some((signal, phase)) = told {
        guard(|| instance.handler.signal(signal, phase));
    }
}

unsafe extern "C" fn stop<H: Handler>(instance: *const ()) {
    // SAFETY: as in `drain_notice`.
    let instance = unsafe { instance_of::<H>(instance) };
    guard(|| instance.handler.stop());
}

unsafe extern "C" fn drop_instance<H: Handler>(instance: *const ()) {
    // SAFETY: the box made in `new`; the host calls this once, last.
    let instance = unsafe { Box::from_raw(instance.cast_mut().cast::<Instance<H>>()) };
    guard(|| drop(instance));
}

/// The instance table of `H`.
#[derive(Debug)]
pub struct Table<H>(PhantomData<H>);

impl<H: Handler> Table<H> {
    /// A constant, so that a library holds no heap for it.
    pub const TABLE: &'static InstanceVt = &InstanceVt {
        size: crate::abi::size_of_u32::<InstanceVt>(),
        state_schema: 0,
        self_test: Some(self_test::<H>),
        drain_notice: Some(drain_notice::<H>),
        stop: Some(stop::<H>),
        drop: drop_instance::<H>,
        ready: None,
        quiesce: None,
        resume: None,
        export_state: None,
        import_state: None,
        signal: Some(signal::<H>),
    };
}
