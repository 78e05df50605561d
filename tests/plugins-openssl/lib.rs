//! Links OpenSSL, which makes thread-local keys of its own inside a plugin's call.
//!
//! A host that took those keys for the plugin's would delete them at retirement and leak. Uses
//! the C interface directly: a context and a connection object for each request.
#![expect(unsafe_code, reason = "calls the C interface of OpenSSL")]

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// `SSL_CTX`, `SSL` and `SSL_METHOD` are only ever handled by pointer.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

#[link(name = "ssl")]
unsafe extern "C" {
    fn TLS_client_method() -> *const Opaque;
    fn SSL_CTX_new(method: *const Opaque) -> *mut Opaque;
    fn SSL_CTX_free(context: *mut Opaque);
    fn SSL_new(context: *mut Opaque) -> *mut Opaque;
    fn SSL_free(ssl: *mut Opaque);
}

#[link(name = "crypto")]
unsafe extern "C" {
    fn RAND_bytes(buffer: *mut u8, count: i32) -> i32;
}

/// Sets a client context up, makes a connection object and draws random bytes.
fn exercise() -> bool {
    // SAFETY: a static table of OpenSSL's.
    let method = unsafe { TLS_client_method() };
    // SAFETY: `method` is OpenSSL's own.
    let context = unsafe { SSL_CTX_new(method) };
    if context.is_null() {
        return false;
    }
    // SAFETY: `context` was made above and is not freed yet.
    let ssl = unsafe { SSL_new(context) };
    let mut bytes = [0; 16];
    // SAFETY: the buffer has 16 bytes.
    let drawn = unsafe { RAND_bytes(bytes.as_mut_ptr(), 16) };
    // SAFETY: made above, freed once; null is allowed.
    unsafe { SSL_free(ssl) };
    // SAFETY: made above, freed once.
    unsafe { SSL_CTX_free(context) };
    !ssl.is_null() && drawn == 1 && bytes != [0; 16]
}

struct OpensslUser {
    text: String,
}

impl Handler for OpensslUser {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { text: format!("v{};", context.label()).repeat(64) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        request.body().bytes(64 << 10).await?;
        if !exercise() {
            return Err(Error::new("OpenSSL failed"));
        }
        Ok(Response::text(self.text.clone()))
    }
}

export_handler!(OpensslUser);
