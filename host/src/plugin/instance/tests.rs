//! A real library in this process.

use std::{fs, sync::Arc, time::Duration};

use hotseat_plugin_api::abi::{signal, signal_phase};
use hotseat_test_support::fault;

use super::*;
use crate::status::Beside;
use crate::{
    config::plugin::PluginSettings,
    plugin::{
        blocking::BlockingPool,
        load::load,
        services::{MetricSink, Services},
    },
};

struct Nowhere;

impl MetricSink for Nowhere {
    fn record(&self, _: &PluginName, _: u32, _: &str, _: &[(&str, &str)], _: f64) {}

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

const TIME: Duration = Duration::from_secs(20);

/// It hears the signals by their names, and unloads afterwards.
#[test]
fn a_plugin_hears_of_signals() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, heard) = (folder.path().join("signals.so"), folder.path().join("heard"));
    fs::copy(fault("signals"), &copy).unwrap();
    let timer = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = LoadRequest {
        path: copy,
        plugin: "handler".parse().unwrap(),
        label: "1".parse().unwrap(),
        generation: Generation(1),
        settings: PluginSettings {
            json: Some(serde_json::json!({ "file": heard }).to_string()),
            ..PluginSettings::default()
        },
        services: Services::new(
            Arc::new(Nowhere),
            timer.handle().clone(),
            Arc::new(BlockingPool::start(1, 1).unwrap()),
        ),
        tried: Vec::new(),
        load_time: TIME,
    };
    let instance = load(request, Arc::new(drop)).unwrap();
    // The last thread that runs plugin code ends it, as everywhere.
    let ended = std::thread::spawn(move || {
        instance.signal(signal::HUP, signal_phase::PRE);
        instance.signal(signal::TSTP, signal_phase::POST);
        instance.signal(u32::MAX, signal_phase::POST);
        let Ended::Freed(library) = instance.end(|| ()) else { panic!("it runs") };
        library.close_soon(TIME, TIME)
    });
    ended.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(heard).unwrap(), "pre HUP\npost TSTP\n");
}
