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
use http::{Method, StatusCode};

use super::{
    exchange::{Exchange, Lease, RequestBody},
    future::{CallError, PluginFuture},
    header::{self, Fields, Framing},
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

    /// Runs the handler until it waits or answers; the fields of its answer are copied into
    /// `fields`.
    #[inline]
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        fields: &mut impl Fields,
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
                unsafe { self.reply(answer, fields) }
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
        fields: &mut impl Fields,
    ) -> Result<Reply<L, B>, CallError> {
        let exchange = self.exchange();
        // SAFETY: these members are always valid on `READY`.
        let (status, kind, list) = unsafe { ((*answer).status, (*answer).body, (*answer).headers) };
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
        let switches = kind == abi::body::UPGRADE;
        let known = known_status(status, switches);
        // Where it is none, nothing of the answer is used.
        fields.begin(known.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        let framing = match known {
            Some(StatusCode::UPGRADE_REQUIRED) => Framing::Upgrade,
            _ if switches => Framing::Upgrade,
            _ => Framing::Open,
        };
        let entered = exchange.enter();
        // SAFETY: valid until the future is dropped, which is after this call.
        let copied = unsafe { header::take(list, framing, fields) };
        drop(entered);
        let (mut body, upgrade) = body.map_err(CallError::Invalid)?;
        let closes = copied.map_err(CallError::Invalid)?;
        let status = known.ok_or_else(|| CallError::Invalid(format!("the status {status}")))?;
        let to_head = *exchange.method() == Method::HEAD;
        let framed = frame(fields, (status, to_head), |len| body.promise(len));
        framed.map_err(CallError::Invalid)?;
        if body.is_stream() && fields.are_events() {
            body.may_end_anywhere();
        }
        Ok(Reply { status, body, upgrade, closes })
    }
}

/// The status of an answer that a plugin may give; a 101 goes with an upgrade, and only with that.
#[inline]
fn known_status(status: u16, switches: bool) -> Option<StatusCode> {
    let known = StatusCode::from_u16(status).ok()?;
    let may_be = match known {
        StatusCode::SWITCHING_PROTOCOLS => switches,
        _ => !switches && (200..600).contains(&known.as_u16()),
    };
    may_be.then_some(known)
}

/// Holds the body to the `content-length` of the plugin (`promise`), which then goes: framing is the
/// host's. It stays where it describes a body that is not sent. The error says what is wrong.
#[inline]
pub(crate) fn frame(
    fields: &mut impl Fields,
    (status, to_head): (StatusCode, bool),
    promise: impl FnOnce(u64) -> Result<(), String>,
) -> Result<(), String> {
    let Some(len) = fields.take_length()? else { return Ok(()) };
    match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::NOT_MODIFIED => fields.describe(len),
        _ if to_head => fields.describe(len),
        _ => promise(len)?,
    }
    Ok(())
}
