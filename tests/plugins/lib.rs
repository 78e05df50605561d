//! What the test plugins share.
//!
//! Each file beside this one is a plugin of its own with one behaviour or one fault; it is built
//! as `libNAME.so` into the `examples` folder of cargo's profile.

/// What the plugins of the soak answer: one short text many times over, so that a body made of two
/// versions would show.
#[must_use]
pub fn versioned_body(label: &str) -> String {
    format!("v{label};").repeat(64)
}

/// A handler that answers every request with one text.
#[macro_export]
macro_rules! plain {
    ($text:literal) => {
        struct Plain;

        impl ::hotseat_plugin_api::Handler for Plain {
            fn new(_: &::hotseat_plugin_api::Context) -> ::hotseat_plugin_api::Result<Self> {
                Ok(Self)
            }

            async fn call(
                &self,
                _: ::hotseat_plugin_api::Request<'_>,
            ) -> ::hotseat_plugin_api::Result<::hotseat_plugin_api::Response> {
                Ok(::hotseat_plugin_api::Response::text($text))
            }
        }

        ::hotseat_plugin_api::export_handler!(Plain);
    };
}
