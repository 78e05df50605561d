//! Bodies on their way: piece by piece, no faster than they are taken, with their trailers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use http_body::Frame;
use sync_wrapper::SyncWrapper;

/// A body, and what is to be kept until it is at its end or nobody wants it any more.
pub(crate) struct Carried<B, K> {
    // reqwest asks for what can be shared between threads, and a body of axum's cannot.
    body: SyncWrapper<B>,
    _kept: K,
}

impl<B, K> Carried<B, K> {
    pub(crate) fn new(body: B, kept: K) -> Self {
        Self { body: SyncWrapper::new(body), _kept: kept }
    }
}

impl<B: HttpBody + Unpin, K: Unpin> HttpBody for Carried<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(self.body.get_mut()).poll_frame(cx)
    }
}
