//! What two files say differently, by the names of the settings.
//!
//! Owns the comparison of what was typed. What it means is nothing to this; plugins' tables are somebody
//! else's to compare.

/// The keys outside of `[plugin]` that differ; those of a limit with its table.
#[must_use]
pub fn changed_keys(before: &str, now: &str) -> Vec<String> {
    // Both were understood before.
    let [before, now] = [before, now].map(|text| text.parse::<toml::Table>().unwrap_or_default());
    let mut found = differing(&before, &now);
    found.retain(|key| key != "plugin");
    let limits = |it: &toml::Table| it.get("limits").and_then(|it| it.as_table().cloned());
    if let Some(at) = found.iter().position(|key| key == "limits") {
        let inner =
            differing(&limits(&before).unwrap_or_default(), &limits(&now).unwrap_or_default());
        found.splice(at..=at, inner.into_iter().map(|key| format!("limits.{key}")));
    }
    found
}

fn differing(before: &toml::Table, now: &toml::Table) -> Vec<String> {
    let mut keys: Vec<_> = before.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = |key: &&&String| before.get(**key) != now.get(**key);
    keys.iter().filter(differs).map(|key| (*key).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_called_by_its_name() {
        let before = "threads = 2\nlisten = ['a']\n[limits]\nqueue_count = 1\nkept_count = 2\n";
        let now = "threads = 2\nlisten = ['b']\n[limits]\nkept_count = 3\nqueue_count = 1\n\
                   [[mount]]\nprefix = '/'\nplugin = 'a'\n[plugin.a]\nx = 1";
        assert_eq!(changed_keys(before, now), ["limits.kept_count", "listen", "mount"]);
        assert_eq!(changed_keys(now, now), Vec::<String>::new());
        assert_eq!(changed_keys("", "[limits]\nkept_count = 1"), ["limits.kept_count"]);
    }
}
