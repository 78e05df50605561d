//! The mount table: host names and path prefixes to generations.
//!
//! Immutable once built. Knows nothing of requests beyond host name and path.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::Loaded;
use crate::{
    config::MountRule,
    error::{Coded, Kind},
    ids::PluginName,
};

/// The plugin that is mounted at `/` when nothing is configured.
const ROOT_PLUGIN: &str = "handler";

/// A place for a plugin, and what serves there now.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where, and whose.
    pub rule: MountRule,
    /// `None`: the mount answers 503.
    pub loaded: Option<Arc<Loaded>>,
}

/// Every mount; the most specific first.
#[derive(Debug, Default)]
pub struct Table {
    mounts: Vec<Mount>,
}

/// A plugin's default place belongs to another plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{plugin}` would be mounted at `{prefix}`, which belongs to `{owner}`")]
pub struct MountTaken {
    plugin: PluginName,
    prefix: String,
    owner: PluginName,
}

impl Coded for MountTaken {
    fn code(&self) -> &'static str {
        "mount_taken"
    }

    fn kind(&self) -> Kind {
        Kind::Conflict
    }

    fn hint(&self) -> Option<String> {
        Some(format!("give `{}` a `[[mount]]` of its own in the configuration", self.plugin))
    }
}

fn default_rule(plugin: &PluginName) -> MountRule {
    let prefix = if plugin.as_str() == ROOT_PLUGIN { "/".to_owned() } else { format!("/{plugin}") };
    MountRule { host: None, prefix, plugin: plugin.clone(), plugin_time: None }
}

/// Whether `plugin` has a place: a configured one, or its default if that is free.
///
/// # Errors
/// [`MountTaken`].
pub fn check_mount(rules: &[MountRule], plugin: &PluginName) -> Result<(), MountTaken> {
    if rules.iter().any(|rule| rule.plugin == *plugin) {
        return Ok(());
    }
    let wanted = default_rule(plugin);
    match rules.iter().find(|rule| rule.host.is_none() && rule.prefix == wanted.prefix) {
        None => Ok(()),
        Some(rule) => Err(MountTaken {
            plugin: plugin.clone(),
            prefix: wanted.prefix,
            owner: rule.plugin.clone(),
        }),
    }
}

impl Table {
    /// The table of `rules` and of everything in `active`; a plugin without a rule gets its
    /// default place.
    #[must_use]
    pub fn build(rules: &[MountRule], active: &BTreeMap<PluginName, Option<Arc<Loaded>>>) -> Self {
        let placed = |plugin: &PluginName| rules.iter().any(|rule| rule.plugin == *plugin);
        let defaults = active.keys().filter(|plugin| !placed(plugin)).map(default_rule);
        let mut mounts: Vec<Mount> = rules
            .iter()
            .cloned()
            .chain(defaults)
            .map(|rule| Mount { loaded: active.get(&rule.plugin).cloned().flatten(), rule })
            .collect();
        // A mount with a host name beats one without; then the longest prefix.
        mounts.sort_by_key(|mount| {
            let rule = &mount.rule;
            (rule.host.is_none(), std::cmp::Reverse(rule.prefix.len()))
        });
        Self { mounts }
    }

    /// Every mount, the most specific first.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The index of the mount that answers `path` (undecoded) on `host` (lower or upper case).
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<usize> {
        self.mounts.iter().position(|mount| mount.takes(host, path))
    }
}

impl Mount {
    fn takes(&self, host: Option<&str>, path: &str) -> bool {
        let host_fits = match (&self.rule.host, host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(host)) => wanted.eq_ignore_ascii_case(host),
        };
        host_fits && prefix_takes(&self.rule.prefix, path)
    }

    /// Units: bytes of a path that belong to the mount; nothing is removed for `/`.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        if self.rule.prefix == "/" { 0 } else { self.rule.prefix.len() }
    }
}

/// `/echo` takes `/echo`, `/echo/` and `/echo/x`, not `/echoes`; `/` takes everything.
fn prefix_takes(prefix: &str, path: &str) -> bool {
    prefix == "/"
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.rule.host.as_deref().unwrap_or_default(), self.rule.prefix)
    }
}

#[cfg(test)]
mod tests;
