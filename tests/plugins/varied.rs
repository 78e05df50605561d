//! Answers of every form, by the path: what two ways to a plugin are held against each other with.

use hotseat_plugin_api::{
    Context, Error, Handler, Request, Response, Result, StatusCode, export_handler,
};

struct Varied;

impl Handler for Varied {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let count = request.query_value("n").and_then(|it| it.parse().ok()).unwrap_or(3_usize);
        let many = |_: ()| "0123456789abcdef".repeat(count);
        Ok(match request.path() {
            "/empty" => Response::empty(),
            "/body" => Response::bytes(request.body().bytes(1 << 20).await?),
            "/unread" => Response::text("unread\n"),
            "/many" => Response::text(many(())),
            "/known" => {
                let body = request.body();
                let length = body.remaining().unwrap_or(0);
                Response::stream(body).with_header("content-length", length.to_string())
            }
            "/stream" => Response::streaming(move |mut out| async move {
                for number in 0..count {
                    out.send(format!("piece {number};")).await;
                }
                Ok(())
            }),
            "/large" => Response::streaming(move |mut out| async move {
                for _ in 0..3 {
                    out.send("x".repeat(count * 1000)).await;
                }
                Ok(())
            }),
            "/broken" => Response::streaming(move |mut out| async move {
                for _ in 0..count {
                    out.send("piece;").await;
                }
                Err(Error::new("broken off"))
            }),
            "/status" => {
                let status = u16::try_from(count).unwrap_or(500);
                Response::text(many(())[..8].to_owned()).with_status(status)
            }
            "/described" => Response::empty().with_header("content-length", "17"),
            "/wrong" => Response::text("eight by").with_header("content-length", "17"),
            "/close" => Response::text("the last\n").with_header("connection", "close"),
            "/nominated" => Response::text("x\n")
                .with_header("x-here", "1")
                .with_header("x-gone", "2")
                .with_header("connection", "x-gone"),
            "/fields" => Response::text("x\n")
                .with_added_header("set-cookie", "a=1")
                .with_added_header("set-cookie", "b=2")
                .with_header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
                .with_header("keep-alive", "timeout=5")
                .with_header("x-obs", hotseat_plugin_api::HeaderValue::from_bytes(b"\xE4\t!")?),
            "/upgrade" => Response::upgrade("x", |_| async { Ok(()) }),
            "/required" => Response::text("more\n")
                .with_status(StatusCode::UPGRADE_REQUIRED)
                .with_header("upgrade", "x"),
            "/error" => return Err(Error::new("it does not want to")),
            "/panic" => panic!("as it was told"),
            _ => reflect(&request),
        })
    }
}

fn reflect(request: &Request<'_>) -> Response {
    let mut text = format!(
        "id={}\nmethod={}\npath={}\nquery={}\noriginal={}\nhost={}\nauthority={}\nscheme={}\nlen={:?}\n",
        request.id(),
        request.method(),
        request.path(),
        request.query().unwrap_or("-"),
        request.original_path(),
        request.host().unwrap_or("-"),
        request.authority().unwrap_or("-"),
        request.scheme(),
        request.body().remaining(),
    );
    // A map has those of one name together.
    let mut fields: Vec<_> = request.headers().collect();
    fields.sort_by_key(|(name, _)| *name);
    for (name, value) in fields {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
    }
    text.push_str(&format!("asked={:?}\n", request.header_bytes("X-Asked")));
    Response::text(text)
}

export_handler!(Varied);
