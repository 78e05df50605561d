//! Single steps over the binary interface, for the tests of this crate.
//!
//! What a kit's user does not see: codes, addresses, the table of a waker.

#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::mem::MaybeUninit;

use super::{
    Call, Running, allocations,
    cells::Cells,
    clock::Clock,
    driver::End,
    services,
    waker::Lent,
    world::{Levels, World},
};
use crate::{
    Context,
    abi::{self, Answer, Growing, HostVt, NewArgs, Str, poll},
    host_future::HostFuture,
    owned::OwnedBytes,
};

impl Call<'_> {
    /// One poll, whether or not it was woken; what it has ended with.
    pub(crate) fn step(&self) -> Option<(u32, Option<Answer>)> {
        self.under_way.job.poll();
        let end = self.under_way.job.take_end();
        end.map(|End { code, value, .. }| (code, value))
    }

    /// What another call of the same request allocates that is ready at its first poll.
    pub(crate) fn allocations(&self) -> usize {
        let instance = self.kit.instance().expect("it runs");
        allocations::during(|| {
            let head = Growing { ptr: self.under_way.head() };
            // SAFETY: the instance is alive, and the head longer than the future.
            let future = unsafe { (self.kit.call_fn())(instance, head) };
            let mut out = MaybeUninit::<Answer>::uninit();
            // SAFETY: alive; waker and room are there for the call.
            let code = unsafe { (future.poll)(future.data, self.waker().raw(), out.as_mut_ptr()) };
            assert_eq!(code, poll::READY);
            // SAFETY: filled, and the receiver's.
            drop(unsafe { OwnedBytes::from_abi(out.assume_init().bytes) });
            // SAFETY: called once.
            unsafe { (future.drop)(future.data) }
        })
    }

    /// Tells whether the client has gone.
    pub(crate) fn client_gone(&self) -> impl Fn() -> bool + use<> {
        // SAFETY: the head is alive.
        let (data, vt) = unsafe { ((*self.under_way.head()).data, (*self.under_way.head()).vt) };
        // SAFETY: a table of this build.
        let gone = unsafe { (*vt).client_gone }.expect("the kit has it");
        // SAFETY: the data of the table; the future is new and ours.
        let future = unsafe { HostFuture::new(gone(data)) };
        let future = std::cell::RefCell::new(future);
        move || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            std::pin::Pin::new(&mut *future.borrow_mut()).poll(&mut cx).is_ready()
        }
    }

    pub(crate) fn waker(&self) -> &Lent {
        &self.under_way.job.waker
    }
}

impl Running {
    /// Timers of plugin code that wait with a waker of the kit's own, and with others.
    pub(crate) fn timers(&self) -> (usize, usize) {
        self.world().clock.kept()
    }
}

/// What a host of ABI 1.3 has.
static BEFORE: HostVt = {
    #[expect(clippy::cast_possible_truncation, reason = "the place of a field")]
    let size = std::mem::offset_of!(HostVt, log_enabled_for) as u32;
    HostVt { size, ..services::FUNCTIONS }
};

/// The surroundings of an instance that there is not.
pub(crate) fn context() -> Context {
    context_with(&services::VT)
}

/// The same at a host of before.
pub(crate) fn context_of_before() -> Context {
    context_with(&BEFORE)
}

fn context_with(host_vt: *const HostVt) -> Context {
    let world = World::new(Levels::default(), Clock::new(false), Cells::new([]));
    let args = NewArgs {
        size: abi::size_of_u32::<NewArgs>(),
        flags: 0,
        host: world.data(),
        host_vt,
        name: Str::new(b"test"),
        label: Str::new(b"1"),
        generation: 1,
        config: Str::NONE,
        config_places: Str::NONE,
    };
    // SAFETY: alive for the call, and the table for ever.
    unsafe { Context::from_args(&raw const args) }
}
