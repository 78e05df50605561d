//! A library in a route table, without a host around it.
//!
//! Owns what the data plane needs of a host to call a plugin. Knows nothing of requests.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hotseat::{
    artifact,
    config::{Config, plugin::PluginSettings},
    event::Events,
    ids::{Generation, PluginName, Version},
    plugin::{
        blocking::BlockingPool,
        library::LoadRequest,
        load::load,
        reaper::{GRACE, Reaper, ReaperRules},
        services::{MetricSink, Services},
    },
    route::{Loaded, Roster, Routes, Table},
    status::Beside,
    sys::private::PrivateFile,
};
use tokio::runtime::Runtime;

struct Nowhere;

impl MetricSink for Nowhere {
    fn record(&self, _: &PluginName, _: u32, _: &str, _: &[(&str, &str)], _: f64) {}

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

/// One library that takes every request.
pub(crate) struct Seat {
    pub(crate) routes: Arc<Routes>,
    reaper: Reaper,
    _timer: Runtime,
}

impl Seat {
    /// The library that `make bench` has built beside this bench.
    pub(crate) fn take(library: &str, config: &Config) -> anyhow::Result<Self> {
        let path = beside(library)?;
        let timer = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pool = Arc::new(BlockingPool::start(1, 1)?);
        let services = Services::new(Arc::new(Nowhere), timer.handle().clone(), pool);
        let digest = artifact::digest(&std::fs::read(&path)?);
        let version = Version { generation: Generation(1), label: "1".parse()?, digest };
        let plugin: PluginName = "handler".parse()?;
        let request = LoadRequest {
            path,
            plugin: plugin.clone(),
            label: version.label.clone(),
            generation: version.generation,
            settings: PluginSettings::default(),
            services,
            tried: Vec::new(),
            load_time: config.limits.load_time,
        };
        let instance = load(request, Arc::new(drop))?;
        let rules = ReaperRules {
            never: Some("the bench ends with its process".to_owned()),
            stop_time: Duration::from_secs(1),
            purge_time: Duration::from_secs(1),
            grace: GRACE,
        };
        let reaper = Reaper::start(rules, |_| ())?;
        let hands = (reaper.handle(), Roster::new(1, Events::new(1)));
        // The reaper would remove the file that it is told: none.
        let parts = (instance, PrivateFile::on_disk(PathBuf::new()));
        let loaded = Loaded::new(plugin.clone(), version, parts, Default::default(), hands);
        let routes = Arc::new(Routes::default());
        routes.store(Table::build(&[], &BTreeMap::from([(plugin, Some(Arc::new(loaded)))])));
        Ok(Self { routes, reaper, _timer: timer })
    }

    pub(crate) fn leave(self) {
        drop(self.routes);
        let _ = self.reaper.shut_down(Instant::now() + Duration::from_secs(1));
    }
}

fn beside(library: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = |dir: &Path| dir.join("examples").join(library);
    let found = own.ancestors().map(folder).find(|path| path.exists());
    found.with_context(|| format!("examples/{library} is not built; run `make bench`"))
}
