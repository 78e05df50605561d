//! One call of a plugin: its future and its answer.
//!
//! Owns the host's side of [`abi::Answer`]. Knows nothing of connections, routes or time limits.
//!
//! # Invariants
//! - The plugin's future holds the exchange that it borrows from.
//! - An answer is checked before any of it is used: what is no HTTP, or breaks the ABI, is
//!   [`CallError::Invalid`].
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    fmt,
    mem::MaybeUninit,
    task::{Context, Poll},
};

use hotseat_plugin_api::abi;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

use super::{
    exchange::{Exchange, Lease, RequestBody},
    future::{CallError, PluginFuture},
    header::{self, Framing},
    stream::{PluginBytes, ReplyBody},
    upgrade::PluginUpgrade,
};

/// What a call ended with.
pub struct Reply<L: Lease, B: RequestBody> {
    /// 200 to 599, or 101 with an upgrade.
    pub status: StatusCode,
    /// Holds the exchange until its last byte.
    pub body: ReplyBody<L, B>,
    /// What to do with the connection after a 101.
    pub upgrade: Option<PluginUpgrade<L, B>>,
    /// The connection is to be closed behind it.
    pub closes: bool,
}

impl<L: Lease, B: RequestBody> fmt::Debug for Reply<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A call that is under way.
pub struct Call<L: Lease, B: RequestBody> {
    future: PluginFuture<abi::Answer, L, B>,
}

impl<L: Lease, B: RequestBody> fmt::Debug for Call<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl<L: Lease, B: RequestBody> Call<L, B> {
    /// Makes the plugin's future; it has not run yet.
    #[must_use]
    pub fn start(exchange: Exchange<L, B>) -> Self {
        let head = exchange.fill_head();
        let (call, instance) = exchange.lease().instance().call_entry();
        let entered = exchange.enter();
        // SAFETY: `call` and `instance` belong to the instance that the exchange's lease keeps
        // alive; the head lives in the exchange, which the future holds from here on.
        let future = unsafe { call(instance, head) };
        drop(entered);
        Self { future: PluginFuture::new(future, exchange) }
    }

    /// The request.
    pub fn exchange(&self) -> &Exchange<L, B> {
        self.future.exchange()
    }

    /// Runs the handler until it waits or answers; its header fields are copied into `headers`.
    #[inline]
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        headers: &mut HeaderMap,
    ) -> Poll<Result<Reply<L, B>, CallError>> {
        if self.exchange().is_cut() {
            return Poll::Ready(Err(CallError::Cut));
        }
        let mut answer = MaybeUninit::<abi::Answer>::uninit();
        let code = self.future.poll(cx, &mut answer);
        let answer = answer.as_ptr();
        Poll::Ready(match code {
            abi::poll::PENDING => {
                self.exchange().wait(cx);
                return Poll::Pending;
            }
            abi::poll::READY => {
                // SAFETY: on `READY` the plugin has filled the answer; members that `body` does
                // not name are not touched by `reply`.
                unsafe { self.reply(answer, headers) }
            }
            abi::poll::FAILED => {
                // SAFETY: on `FAILED` the `bytes` member is valid and ours.
                let bytes = unsafe { (&raw const (*answer).bytes).read() };
                Err(CallError::Failed(PluginBytes::into_text(bytes, self.exchange().clone())))
            }
            abi::poll::PANICKED => Err(CallError::Panicked(self.exchange().take_panic())),
            other => Err(CallError::Invalid(format!("with the poll code {other}"))),
        })
    }

    /// Takes over what the plugin answered.
    ///
    /// # Safety
    /// `answer` must have been filled by a poll that was `READY`, and is read once.
    #[inline]
    unsafe fn reply(
        &self,
        answer: *const abi::Answer,
        headers: &mut HeaderMap,
    ) -> Result<Reply<L, B>, CallError> {
        let exchange = self.exchange();
        // SAFETY: these members are always valid on `READY`.
        let (status, kind, fields) =
            unsafe { ((*answer).status, (*answer).body, (*answer).headers) };
        // The body first: it is ours and must be freed whatever the rest says.
        let body = match kind {
            abi::body::EMPTY => Ok((ReplyBody::empty(exchange.clone()), None)),
            abi::body::BYTES => {
                // SAFETY: named by `body`.
                let bytes = unsafe { (&raw const (*answer).bytes).read() };
                PluginBytes::new(bytes, exchange.clone()).map(|it| (ReplyBody::bytes(it), None))
            }
            abi::body::STREAM => {
                // SAFETY: named by `body`.
                let stream = unsafe { (&raw const (*answer).stream).read() };
                ReplyBody::stream(stream, exchange.clone()).map(|it| (it, None))
            }
            abi::body::UPGRADE => {
                // SAFETY: named by `body`.
                let upgrade = unsafe { (&raw const (*answer).upgrade).read() };
                let upgrade = PluginUpgrade::new(upgrade, exchange.clone());
                Ok((ReplyBody::empty(exchange.clone()), Some(upgrade)))
            }
            // What it has put there cannot be known, nor freed.
            other => Err(format!("a body of the unknown kind {other}")),
        };
        let switches = kind == abi::body::UPGRADE || status == StatusCode::UPGRADE_REQUIRED;
        let framing = if switches { Framing::Upgrade } else { Framing::Open };
        let entered = exchange.enter();
        // SAFETY: valid until the future is dropped, which is after this call.
        let copied = unsafe { header::take(fields, framing, headers) };
        drop(entered);
        let (mut body, upgrade) = body.map_err(CallError::Invalid)?;
        let closes = copied.map_err(CallError::Invalid)?;
        let known = StatusCode::from_u16(status).ok();
        let status = known
            .filter(|it| upgrade.is_some() == (*it == StatusCode::SWITCHING_PROTOCOLS))
            .filter(|it| upgrade.is_some() || (200..600).contains(&it.as_u16()))
            .ok_or_else(|| CallError::Invalid(format!("the status {status}")))?;
        self.frame(status, &mut body, headers).map_err(CallError::Invalid)?;
        if body.is_stream() && headers.get(CONTENT_TYPE).is_some_and(is_events) {
            body.may_end_anywhere();
        }
        Ok(Reply { status, body, upgrade, closes })
    }

    /// Holds the body to the `content-length` of the plugin, which then goes: framing is the host's.
    /// It stays where it describes a body that is not sent.
    fn frame(
        &self,
        status: StatusCode,
        body: &mut ReplyBody<L, B>,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(()) };
        let len = value.to_str().ok().and_then(|text| {
            text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        });
        let len: u64 = len.ok_or_else(|| format!("a `content-length` of {value:?}"))?;
        let mut others = headers.get_all(CONTENT_LENGTH).iter();
        if others.any(|other| other != value) {
            return Err("two different `content-length` fields".to_owned());
        }
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
            || status == StatusCode::SWITCHING_PROTOCOLS;
        let described =
            *self.exchange().method() == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        if !described && !bodiless {
            body.promise(len)?;
        }
        headers.remove(CONTENT_LENGTH);
        if described && !bodiless {
            headers.insert(CONTENT_LENGTH, len.into());
        }
        Ok(())
    }
}

/// Whether a media type is that of server-sent events.
fn is_events(value: &HeaderValue) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let bytes = value.as_bytes();
    let named = bytes.get(..EVENTS.len()).is_some_and(|it| it.eq_ignore_ascii_case(EVENTS));
    named && matches!(bytes.get(EVENTS.len()), None | Some(b';' | b' ' | b'\t'))
}
