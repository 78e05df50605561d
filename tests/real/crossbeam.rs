//! crossbeam: a channel to a worker that ends with the handler, and epochs, which each thread joins.

use std::thread::{self, JoinHandle};

use crossbeam::{
    channel::{self, Sender},
    epoch,
};
use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

type Question = (u64, Sender<u64>);

struct Plugin {
    ask: Option<Sender<Question>>,
    worker: Option<JoinHandle<()>>,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let (ask, asked) = channel::unbounded::<Question>();
        let worker = thread::spawn(move || {
            for (number, answer) in asked {
                let _ = answer.send(number + 1);
            }
        });
        Ok(Self { ask: Some(ask), worker: Some(worker) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        // Runs when every thread of the library has gone on: later, and on any of them.
        let garbage = vec![0_u8; 4096];
        epoch::pin().defer(move || drop(garbage));
        let (answer, answered) = channel::bounded(1);
        let ask = self.ask.as_ref().ok_or_else(|| Error::new("it has ended"))?;
        ask.send((41, answer))?;
        let got = answered.recv()?;
        Ok(Response::text(format!("{got}\n")))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

export_handler!(Plugin, name = "real");
