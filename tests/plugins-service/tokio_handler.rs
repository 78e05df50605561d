//! A handler within a runtime of the plugin's own: tokio works in each of its methods.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{interval, sleep, timeout},
};

struct Ticks {
    /// Runs on the runtime's thread as long as the handler is there.
    clock: JoinHandle<()>,
}

impl Handler for Ticks {
    fn new(_: &Context) -> Result<Self> {
        let five = Handle::current().block_on(async {
            sleep(Duration::from_millis(1)).await;
            5
        });
        if five != 5 {
            return Err("a runtime that does not count".into());
        }
        let clock = tokio::spawn(async {
            let mut ticks = interval(Duration::from_millis(1));
            loop {
                ticks.tick().await;
            }
        });
        Ok(Self { clock })
    }

    async fn self_test(&self) -> Result<()> {
        timeout(Duration::from_secs(20), sleep(Duration::from_millis(1))).await?;
        Ok(())
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/stream" {
            return Ok(Response::streaming(|mut out| async move {
                for piece in ["a", "b", "c"] {
                    sleep(Duration::from_millis(1)).await;
                    out.send(piece).await;
                }
                Ok(())
            }));
        }
        if request.path() == "/guard" {
            // What nobody should do: the guard outlives ours, and tokio panics.
            return Ok(Response::streaming(|mut out| async move {
                let _guard = Handle::current().enter();
                out.send("a").await;
                sleep(Duration::from_secs(3600)).await;
                Ok(())
            }));
        }
        let blocking = tokio::task::spawn_blocking(|| "blocking").await?;
        sleep(Duration::from_millis(1)).await;
        Ok(Response::text(format!("{blocking} {}", self.clock.is_finished())))
    }

    fn drain(&self) {
        tokio::spawn(async {});
    }

    fn stop(&self) {
        // The clock goes on, and ends with the runtime.
        tokio::spawn(async {});
    }
}

export_handler!(Ticks, runtime = "tokio");
