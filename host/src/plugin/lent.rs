//! Something of the host's in a plugin's hands that can be taken back.
//!
//! A plugin may keep what it was lent for ever, in a thread-local for instance; through it, it would
//! keep the request, and through that its own generation. So what it gets is a [`Shell`], and at the
//! limit of a drain the host empties it. Knows nothing of what is in it.
#![expect(unsafe_code, reason = "lends boxes to plugins as raw pointers")]

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use hotseat_unload::{LibraryId, LibraryLease};

/// What a value belongs to that is lent: a request.
pub(super) trait Owner: Clone + 'static {
    /// Notes that the plugin has it.
    fn lend(&self, lent: Weak<dyn Lent>);

    /// Keeps the library loaded for a waker of the plugin that the value stores.
    fn waker_lease(&self) -> LibraryLease;

    /// The plugin's library.
    fn library(&self) -> LibraryId;
}

/// Something that a plugin was lent and may still have.
pub(super) trait Lent {
    /// Takes back what is in it. The plugin keeps a shell that answers with errors.
    fn sever(&self);
}

/// A value and what it belongs to, until they are taken back.
pub(super) struct Shell<V, O: Owner>(RefCell<Option<(V, O)>>);

impl<V: 'static, O: Owner> Lent for Shell<V, O> {
    fn sever(&self) {
        // In use further down this thread's stack: then it is polled, and hears of the cut.
        let taken = self.0.try_borrow_mut().ok().and_then(|mut inner| inner.take());
        drop(taken);
    }
}

impl<V: 'static, O: Owner> Shell<V, O> {
    /// Lends `value`; the pointer is the plugin's until it gives it back to [`Self::free`].
    pub(super) fn lend(value: V, owner: O) -> *mut () {
        let shell = Rc::new(Self(RefCell::new(Some((value, owner.clone())))));
        let weak: Weak<Self> = Rc::downgrade(&shell);
        owner.lend(weak);
        Rc::into_raw(shell).cast_mut().cast()
    }

    /// Works with what is inside; `None` when it was taken back.
    ///
    /// # Safety
    /// `data` must come from [`Self::lend`] of the same types and not have been freed, and this must
    /// be the thread that it was lent on.
    pub(super) unsafe fn with<T>(data: *const (), work: impl FnOnce(&mut V, &O) -> T) -> Option<T> {
        // Held meanwhile: a waker of the plugin that is cloned in there could free it.
        // SAFETY: alive, as the caller says, so the count is at least one.
        unsafe { Rc::increment_strong_count(data.cast::<Self>()) };
        // SAFETY: the handle that was just counted.
        let shell = unsafe { Rc::from_raw(data.cast::<Self>()) };
        let mut inner = shell.0.try_borrow_mut().ok()?;
        inner.as_mut().map(|(value, owner)| work(value, owner))
    }

    /// Takes the pointer back, with what is left behind it.
    ///
    /// # Safety
    /// As [`Self::with`]; the pointer is not used again.
    pub(super) unsafe fn free(data: *mut ()) {
        // SAFETY: made by `into_raw`, and given back once.
        drop(unsafe { Rc::from_raw(data.cast_const().cast::<Self>()) });
    }
}
