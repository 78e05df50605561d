//! argon2: a password's hash, on the host's pool.

use argon2::Argon2;
use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Plugin {
    context: Context,
}

impl Handler for Plugin {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let hashed = self.context.blocking(|| {
            let mut hash = [0; 32];
            let params = argon2::Params::new(256, 1, 1, None)?;
            let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            argon2.hash_password_into(b"password", b"somesalt", &mut hash)
        });
        hashed.await?.map_err(|error| Error::new(error.to_string()))?;
        Ok(Response::text("hashed\n"))
    }
}

export_handler!(Plugin, name = "real");
