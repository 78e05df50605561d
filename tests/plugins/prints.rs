//! Prints past the log, as much as it is told to, and panics or dies when it is told to.
//!
//! `/out`, `/err`, `/raw` print a line each, `?KIB` that many KiB of lines; `/log` logs through its
//! context; `/panic` panics, `/die` prints, logs and aborts.

#![expect(unsafe_code, reason = "writes as C libraries do")]

use std::io::Write as _;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Prints {
    context: Context,
}

/// Lines of 64 bytes.
fn lines(kib: usize) -> String {
    let line = format!("{:>62}.\n", "printed by a plugin");
    line.repeat((kib * 16).max(1))
}

/// As a C library does, in pieces as they are taken.
fn write_raw(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: standard error, and as many bytes as there are.
        let count = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        match usize::try_from(count) {
            Ok(count) => text = &text[count..],
            Err(_) => return,
        }
    }
}

impl Handler for Prints {
    fn new(context: &Context) -> Result<Self> {
        if std::env::var_os("HOTSEAT_TEST_PRINTS").is_some() {
            print!("{}", lines(200));
            std::io::stdout().flush()?;
        }
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let target = request.path().to_owned();
        let kib = request.query().and_then(|it| it.parse().ok()).unwrap_or(0);
        match &*target {
            // Both panic where the line cannot be written.
            "/out" => {
                print!("{}", lines(kib));
                std::io::stdout().flush()?;
            }
            "/err" => eprint!("{}", lines(kib)),
            "/raw" => write_raw(lines(kib).as_bytes()),
            "/log" => self.context.info("logged by a plugin", &[("kib", &kib), ("word", &"a b")]),
            "/panic" => panic!("told to"),
            "/die" => {
                for number in 0..100 {
                    self.context.info(&format!("last word {number}"), &[]);
                }
                eprintln!("the very last word");
                std::process::abort();
            }
            _ => {}
        }
        Ok(Response::text("printed"))
    }
}

export_handler!(Prints);
