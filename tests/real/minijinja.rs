//! minijinja: templates parsed once, in a static.

use std::sync::LazyLock;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use minijinja::{Environment, context};

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    let page = "<ul>{% for it in all %}<li>{{ loop.index }} {{ it|upper }}</li>{% endfor %}</ul>\n";
    pages.add_template("page", page).expect("a template that parses");
    pages
});

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let page = PAGES.get_template("page")?;
        Ok(Response::text(page.render(context! { all => ["one", "two", "three"] })?))
    }
}

export_handler!(Plugin, name = "real");
