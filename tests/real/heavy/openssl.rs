//! openssl with the system's OpenSSL in C: a client's context and its first message, hashes, random
//! bytes.
//! Note: libcrypto stays loaded, and keeps functions of each version on its heap
//! (`CRYPTO_get_ex_new_index`), which it calls when another one frees a connection. So does what is
//! built on this crate: native-tls, and reqwest with its default features.
//! Recipe: use rustls, whose rows are below.

use std::io::{self, Read, Write};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use openssl::{
    rand::rand_bytes,
    sha::sha256,
    ssl::{HandshakeError, SslConnector, SslMethod},
};

/// Takes what is sent, and has no answer yet.
#[derive(Debug, Default)]
struct Peer {
    sent: Vec<u8>,
}

impl Read for Peer {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Plugin {
    connector: SslConnector,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { connector: SslConnector::builder(SslMethod::tls_client())?.build() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut random = [0; 32];
        rand_bytes(&mut random)?;
        let hello = match self.connector.connect("localhost", Peer::default()) {
            Err(HandshakeError::WouldBlock(waits)) => waits.get_ref().sent.len(),
            _ => 0,
        };
        Ok(Response::text(format!("{} {}\n", sha256(&random).len(), hello > 100)))
    }
}

export_handler!(Plugin, name = "real");
