//! rustls with aws-lc-rs: a configuration with the web's roots, and a client's first message.

use std::sync::Arc;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs};

struct Plugin {
    config: Arc<ClientConfig>,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let mut connection = ClientConnection::new(self.config.clone(), "localhost".try_into()?)?;
        let mut hello = Vec::new();
        connection.write_tls(&mut hello)?;
        Ok(Response::text(format!("{}\n", hello.len() > 100)))
    }
}

export_handler!(Plugin, name = "real");
