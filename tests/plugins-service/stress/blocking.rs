//! The part of the stress that blocks: `POST /digest` sums up its body on the host's pool.

use hotseat_plugin_api::{
    Blocking, BlockingHandler, Context, Error, OwnedRequest, Response, Result, export_handler,
};
use sha2::{Digest as _, Sha256};

struct Sums {
    context: Context,
}

impl BlockingHandler for Sums {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    fn call(&self, request: OwnedRequest) -> Result<Response> {
        if request.path() != "/digest" {
            return Err(Error::new(format_args!("nothing is at `{}`", request.path())));
        }
        let mut sum = Sha256::new();
        sum.update(request.body());
        let mut text = format!("{} ", request.body().len());
        for byte in sum.finalize() {
            text += &format!("{byte:02x}");
        }
        let nonce = request.header("x-nonce").unwrap_or_default().to_owned();
        let answer = Response::text(text)
            .with_header("x-pid", std::process::id().to_string())
            .with_header("x-generation", self.context.generation().to_string())
            .with_header("x-label", self.context.label())
            .with_header("x-id", request.id().to_string())
            .with_header("x-nonce", nonce);
        Ok(answer)
    }
}

export_handler!(Blocking<Sums>);
