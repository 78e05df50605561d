//! Answers what it has heard of signals, one a line.
//!
//! Its configuration, all of it texts: `file` is written to as well, line by line; the signal named
//! by `hang` is never returned from.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use hotseat_plugin_api::{
    Context, Handler, Phase, Request, Response, Result, Signal, export_handler,
};

struct Signals {
    config: BTreeMap<String, String>,
    heard: Mutex<String>,
}

impl Handler for Signals {
    fn new(context: &Context) -> Result<Self> {
        // `{"file":"/x"}`: every second text is a name, and none of them holds a quote.
        let texts: Vec<_> = context.config().unwrap_or_default().split('"').collect();
        let pairs = texts.get(1..).unwrap_or_default().chunks_exact(4);
        let config = pairs.map(|it| (it[0].to_owned(), it[2].to_owned())).collect();
        Ok(Self { config, heard: Mutex::default() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Response::text(heard.clone()))
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        let line = format!("{phase} {signal}\n");
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
        if let Some(path) = self.config.get("file") {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
            written.expect("the test can write there");
        }
        while self.config.get("hang").is_some_and(|name| name == signal.name()) {
            std::thread::park();
        }
    }
}

export_handler!(Signals);
