//! Keeps values with the host, as the path says.
//!
//! - `/count/KEY` adds one to a number, and answers with it; a body that comes is read first.
//! - `GET /KEY` answers with a value, `PUT` sets it, `DELETE` removes it; `?if=VERSION` is its
//!   condition. `x-version` is the version, and the field `x-error` names an error's kind.
//! - `/keys` lists, `/typed` adds a line to a list in JSON, `/forked` asks in a child of this process.
//! - A preflight reads `refuse`, and fails if it is there; then it sets `tried`.
#![expect(unsafe_code, reason = "forks a child")]

use hotseat_plugin_api::{
    CellError, Context, Error, Handler, Method, Request, Response, Result, export_handler,
};

/// Above any value of a test.
const BODY_BYTES: usize = 4 << 20;

struct Cells {
    context: Context,
}

fn kind(error: &CellError) -> &'static str {
    match error {
        CellError::Conflict { .. } => "conflict",
        CellError::Full(_) => "full",
        CellError::TooLong(_) => "too-long",
        CellError::BadKey(_) => "bad-key",
        CellError::Unavailable(_) => "unavailable",
        CellError::Form(_) => "form",
        _ => "other",
    }
}

impl Cells {
    fn count(&self, key: &str) -> Result<String, CellError> {
        let now = self.context.cell(key).update(|old| {
            let old = old.and_then(|it| std::str::from_utf8(it).ok()?.parse::<u64>().ok());
            (old.unwrap_or(0) + 1).to_string()
        })?;
        Ok(String::from_utf8_lossy(&now.value).into_owned())
    }

    fn typed(&self) -> Result<String, CellError> {
        let lines = self.context.cell("typed").update_as(|old: Option<Vec<String>>| {
            let mut lines = old.unwrap_or_default();
            lines.push(format!("generation {}", self.context.generation()));
            lines
        })?;
        Ok(lines.value.join("\n"))
    }

    /// What a child that is forked here gets to hear.
    fn forked(&self) -> String {
        // SAFETY: the child asks once, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let found = self.context.cell("forked").set("by a child");
            let code = if matches!(found, Err(CellError::Unavailable(_))) { 7 } else { 8 };
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: waits for the child that was made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        libc::WEXITSTATUS(status).to_string()
    }

    fn one(&self, method: &Method, key: &str, condition: Option<u64>, body: &[u8]) -> Answer {
        let cell = self.context.cell(key);
        match (method, condition) {
            (&Method::PUT, None) => Ok(Some((cell.set(body)?, Vec::new()))),
            (&Method::PUT, Some(version)) => Ok(Some((cell.set_if(version, body)?, Vec::new()))),
            (&Method::DELETE, None) => cell.remove().map(|()| None),
            (&Method::DELETE, Some(version)) => cell.remove_if(version).map(|()| None),
            _ => Ok(cell.get()?.map(|it| (it.version, it.value.to_vec()))),
        }
    }
}

type Answer = Result<Option<(u64, Vec<u8>)>, CellError>;

impl Handler for Cells {
    fn new(context: &Context) -> Result<Self> {
        if context.is_preflight() {
            // A host of before has none, and that is no reason to refuse.
            if matches!(context.cell("refuse").get(), Ok(Some(_))) {
                return Err(Error::new("the cell `refuse` is there"));
            }
            let _ = context.cell("tried").set("in a preflight");
        }
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let body = request.body().bytes(BODY_BYTES).await?;
        let path = request.path().trim_start_matches('/');
        let text = |it: String| Some((0, it.into_bytes()));
        let answer = match path.split_once('/').unwrap_or((path, "")) {
            ("count", key) => self.count(key).map(text),
            ("keys", _) => self.context.cells().map(|keys| text(keys.join("\n"))),
            ("typed", _) => self.typed().map(text),
            ("forked", _) => Ok(text(self.forked())),
            _ => {
                let condition = request.query_value("if").and_then(|it| it.parse().ok());
                self.one(&request.method(), path, condition, &body)
            }
        };
        let response = match answer {
            Ok(Some((version, value))) => {
                Response::bytes(value).with_header("x-version", version.to_string())
            }
            Ok(None) => Response::text("").with_status(404),
            Err(error) => Response::text(error.to_string())
                .with_status(409)
                .with_header("x-error", kind(&error)),
        };
        let pid = std::process::id().to_string();
        let generation = self.context.generation().to_string();
        Ok(response.with_header("x-pid", &pid).with_header("x-generation", &generation))
    }
}

export_handler!(Cells);
