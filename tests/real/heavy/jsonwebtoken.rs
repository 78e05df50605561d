//! jsonwebtoken: a token signed and checked.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
}

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let claims = Claims { sub: "someone".to_owned(), exp: 4_000_000_000 };
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(b"secret"))?;
        let key = DecodingKey::from_secret(b"secret");
        let read = decode::<Claims>(&token, &key, &Validation::default())?;
        Ok(Response::text(format!("{}\n", read.claims.sub)))
    }
}

export_handler!(Plugin, name = "real");
