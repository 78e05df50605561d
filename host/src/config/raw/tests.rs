//! The settings, end to end: precedence, every key, every refusal with its place.

use std::io::Write;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

use super::*;
use crate::{
    config::{Hook, HookPhase, Listen, UnloadPolicy, Watch},
    error::{Coded, Kind},
    log::LogFormat,
};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    raw: RawConfig,
}

fn flags(arguments: &[&str]) -> RawConfig {
    let arguments = [&["hotseat"], arguments].concat();
    Flags::try_parse_from(arguments).unwrap().raw
}

fn file(text: &str) -> RawConfig {
    toml::from_str(text).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    let file = FileText { path: Some("/x.toml".into()), text: text.to_owned() };
    let error = RawConfig::default().load_text(&file, &Surroundings::default()).unwrap_err();
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    let said = text.strip_prefix("the configuration `/x.toml` is wrong");
    said.map_or_else(|| text.clone(), str::to_owned)
}

fn build(raw: RawConfig) -> Config {
    raw.build(&Surroundings::default()).0
}

#[test]
fn defaults_are_those_of_config() {
    assert_eq!(format!("{:?}", build(RawConfig::default())), format!("{:?}", Config::default()));
}

#[test]
fn flags_win_over_the_file() {
    let below =
        file("listen = ['[::1]:1']\nthreads = 3\n[limits]\nqueue_count = 7\nkept_count = 2");
    let above = flags(&["--listen", "127.0.0.1:9", "--listen", "unix:/x", "--kept-count", "9"]);
    let config = build(above.or(below));
    let listen = [Listen::Tcp(([127, 0, 0, 1], 9).into()), Listen::Unix("/x".into())];
    assert_eq!(config.listen, listen);
    assert_eq!(config.threads, 3);
    assert_eq!((config.limits.queue_count, config.limits.kept_count), (7, 9));
}

/// Clap reads the environment itself, below the flags; what can go wrong is a name.
#[test]
fn every_flag_has_its_variable_and_its_key() {
    let command = RawConfig::augment_args(clap::Command::new("hotseat"));
    let ids: Vec<_> = command.get_arguments().map(|a| a.get_id().as_str().to_owned()).collect();
    assert!(ids.len() > 40, "{ids:?}");
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let variable = argument.get_env().and_then(|name| name.to_str());
        let expected = (id != "hook").then(|| format!("HOTSEAT_{}", id.to_uppercase()));
        assert_eq!(variable, expected.as_deref());
        assert_eq!(argument.get_long(), Some(&*id.replace('_', "-")));
        let key = if ["probe", "hook"].contains(&id) { format!("{id}s") } else { id.to_owned() };
        // A key that exists is refused for its value, never as unknown.
        let known = |text: String| !refused(&text).contains("unknown field");
        let wrong = if id == "hook" { "1" } else { "{}" };
        let there = known(format!("{key} = {wrong}")) || known(format!("limits.{key} = {wrong}"));
        assert!(there, "{id}");
    }
}

#[test]
fn every_setting_reaches_the_config() {
    let text = r#"
        listen = ["0.0.0.0:80"]
        control = ["unix:/run/c"]
        health_listen = ["0.0.0.0:81"]
        health_path = "/-/health"
        plugins_dir = "/srv/plugins"
        watch = "polling"
        trusted_owners = [33, "root"]
        follow_links = true
        unload = "require"
        state_dir = "/srv/state"
        half_close = false
        thin = false
        log = "warn,hotseat=debug"
        log_format = "json"
        single = true
        pid_file = "/run/hotseat.pid"
        lame_status = 404
        probes = ["/", "/health?deep=1,2"]
        strict_exit = true
        master_reexec = "never"

        [hooks]
        pre_hup = ["/usr/bin/touch", "/tmp/a b"]
        post_term = "cmd  arg"

        [[mount]]
        host = "API.example"
        prefix = "/v1"
        plugin = "billing"
        plugin_time = "2s"

        [plugin.billing]
        rate = 2.5
        since = 2026-01-02
        names = ["a", "b"]
        nested = { on = true }
    "#;
    let (config, log) = file(text).build(&Surroundings::default());
    assert_eq!(config.listen, [Listen::Tcp(([0, 0, 0, 0], 80).into())]);
    assert_eq!(config.control, [Listen::Unix("/run/c".into())]);
    assert_eq!(config.health_listen, [Listen::Tcp(([0, 0, 0, 0], 81).into())]);
    assert_eq!(config.health_path.as_deref(), Some("/-/health"));
    assert_eq!(config.plugins_dir.as_deref(), Some(Path::new("/srv/plugins")));
    assert_eq!(config.watch, Watch::Polling);
    assert_eq!(config.trusted_owners, [33, 0]);
    assert!(config.follow_links && !Config::default().follow_links);
    assert_eq!(config.unload, UnloadPolicy::Require);
    assert_eq!(config.state_dir, Path::new("/srv/state"));
    assert!(!config.half_close);
    assert!(!config.thin);
    assert_eq!((log.filter.as_str(), log.format), ("warn,hotseat=debug", LogFormat::Json));
    assert_eq!(
        format!("{:?}", config.mounts),
        r#"[MountRule { host: Some("api.example"), prefix: "/v1", plugin: PluginName("billing"), plugin_time: Some(2s) }]"#
    );
    assert!(config.single && config.strict_exit && !config.master_reexec);
    assert_eq!(config.pid_file.as_deref(), Some(Path::new("/run/hotseat.pid")));
    assert_eq!(config.lame_status, 404);
    assert_eq!(config.probes, ["/", "/health?deep=1,2"]);
    let hook = |signal: &str, phase, command: [&str; 2]| {
        let command = command.map(str::to_owned).to_vec();
        Hook { signal: signal.to_owned(), phase, command }
    };
    let hooks = [
        hook("TERM", HookPhase::Post, ["cmd", "arg"]),
        hook("HUP", HookPhase::Pre, ["/usr/bin/touch", "/tmp/a b"]),
    ];
    assert_eq!(config.hooks, hooks);
    let json = serde_json::json!(config.plugins[&"billing".parse().unwrap()].table).to_string();
    assert_eq!(json, r#"{"names":["a","b"],"nested":{"on":true},"rate":2.5,"since":"2026-01-02"}"#);
}

#[test]
fn a_folder_that_is_not_watched_is_none() {
    assert_eq!(build(flags(&["--watch", "off"])).plugins_dir, None);
    let state = Surroundings { state_directory: Some("/s".into()), ..Surroundings::default() };
    assert_eq!(RawConfig::default().build(&state).0.state_dir, Path::new("/s"));
    assert_eq!(flags(&["--state-dir", "/t"]).build(&state).0.state_dir, Path::new("/t"));
}

#[test]
fn a_mistake_in_the_file_has_its_place() {
    let expected = " at line 3, column 1: unknown field `queue_cuont`, expected one of ";
    let error = refused("threads = 1\n[limits]\nqueue_cuont = 4\n");
    assert!(error.starts_with(expected), "{error}");
    let expected =
        " at line 2, column 15: header_time: `10` has no unit: write `10s`, `10ms` or `10min`";
    assert_eq!(refused("[limits]\nheader_time = 10\n"), expected);
    // Bytes are no columns.
    let error = refused("lame_status = \"\u{e4}\" x");
    assert!(error.starts_with(" at line 1, column 19: "), "{error}");
}

/// What the host reads of a plugin's table has the line of its key, and not that of the table.
#[test]
fn a_mistake_in_a_plugins_table_has_the_line_of_its_key() {
    for (lines, said) in [
        ("room = 1\nlog = 'loud'", " at line 4, column 1: [plugin.shop] log: `loud` is not"),
        ("room = 1\n\n  log = 3", " at line 5, column 3: [plugin.shop] log: invalid type"),
        ("memory_max = '64MB'", " at line 3, column 1: [plugin.shop] memory_max: `64MB` is not"),
        (
            "x = 1\ny = [\n  1,\n  nan,\n]",
            " at line 6, column 3: [plugin.shop] y[1]: a plugin cannot ",
        ),
        ("x = 1\nmemory_policy = 'warn'", " at line 4, column 1: [plugin.shop] memory_policy: "),
    ] {
        let error = refused(&format!("[plugin.other]\n[plugin.shop]\n{lines}\n"));
        assert!(error.starts_with(said), "{said}: {error}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, part) in [
        ("control = ['0.0.0.0:1']", "is not a loopback address"),
        ("health_path = 'x'", "is not a path prefix"),
        ("threads = 0", "from 1 to 1024 is allowed"),
        ("threads = 1025", "from 1 to 1024 is allowed"),
        ("[[mount]]\nprefix='/a/'\nplugin='a'", "is not a path prefix"),
        ("[[mount]]\nprefix='/a'\nplugin='A'", "is not a plugin name"),
        ("[[mount]]\nprefix='/a'\nplugin='a'\nport=1", "unknown field `port`"),
        (
            "[[mount]]\nprefix='/a'\nplugin='a'\n[[mount]]\nprefix='/a'\nplugin='b'",
            "`/a` is mounted twice: for `a` and for `b`",
        ),
        ("[plugin.X]\na=1", "is not a plugin name"),
        ("trusted_owners = ['no such account']", "neither a user id nor an account"),
        ("log = 'hotseat=loud'", "is not a log filter"),
        ("listen = []", "at least one address"),
        ("lame_status = 200", "write `503` or `404`"),
        ("lame_status = '500'", "write `503` or `404`"),
        ("probes = ['x']", "is not a probe"),
        ("probes = '/'", "expected a sequence"),
        ("master_reexec = 'always'", "expected `auto` or `never`"),
        ("[hooks]\npre_kill = 'x'", "is not a phase and a signal"),
        ("[hooks]\npre_hup = []", "has no command"),
        ("[hooks]\npre_hup = 7", "a command: a text, or a list of program and arguments"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}: {error}");
        assert!(error.contains(" at line "), "{text}: {error}");
    }
}

#[test]
fn flags_mounted_twice_are_refused() {
    let raw = flags(&["--mount", "/a=x,/b=y", "--mount", "/a=z"]);
    let error = raw.load(None, &Surroundings::default()).unwrap_err();
    assert_eq!(error.to_string(), "`/a` is mounted twice: for `x` and for `z`");
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let clash = |arguments: &[&str]| {
        let loaded = flags(arguments).load(None, &Surroundings::default());
        loaded.map(drop).map_err(|error| (error.code(), error.to_string()))
    };
    let invalid = |text: &str| Err(("config_invalid", text.to_owned()));
    let twice = invalid("the address `127.0.0.1:28000` is given twice");
    assert_eq!(clash(&["--listen", "127.0.0.1:28000"]), twice);
    let probes = |count| vec!["/"; count].join(",");
    assert_eq!(clash(&["--probe", &probes(64)]), Ok(()));
    assert_eq!(clash(&["--probe", &probes(65)]), invalid("there are more than 64 probes"));
    assert_eq!(clash(&["--hook=pre_hup=x"].repeat(64)), Ok(()));
    let hooks = ["--hook=pre_hup=x"].repeat(65);
    assert_eq!(clash(&hooks), invalid("there are more than 64 hooks"));
}

/// A word after it is no value: `check --single lib.so` checks a library.
#[test]
fn a_switch_takes_no_word() {
    assert_eq!(flags(&["--single"]).single, Some(true));
    assert_eq!(flags(&["--single=false"]).single, Some(false));
    assert!(Flags::try_parse_from(["hotseat", "--strict-exit", "false"]).is_err());
    assert!(!build(flags(&["--master-reexec", "never"])).master_reexec);
    assert!(build(flags(&["--master-reexec=auto"])).master_reexec);
}

/// Also one that comes to lie before it.
#[test]
fn a_file_is_as_before_until_another_one_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let places = vec![first.clone(), second.clone()];
    let around = Surroundings { places, state_directory: None };
    let none = file::find_and_read(None, &around).unwrap();
    assert!(file::is_as_before(&none, &around));
    std::fs::write(&second, "threads = 2").unwrap();
    assert!(!file::is_as_before(&none, &around));
    let found = file::find_and_read(None, &around).unwrap();
    assert!(file::is_as_before(&found, &around));
    std::fs::write(&first, "threads = 3").unwrap();
    assert!(!file::is_as_before(&found, &around));
    let third = folder.path().join("third");
    std::fs::write(&third, "threads = 4").unwrap();
    let named = file::find_and_read(Some(&third), &around).unwrap();
    assert!(file::is_as_before(&named, &around), "it is not found, but named");
    std::fs::remove_file(&third).unwrap();
    assert!(!file::is_as_before(&named, &around));
}

#[test]
fn the_first_place_with_a_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for (name, text) in [("b.toml", "threads = 2"), ("c.toml", "threads = 4")] {
        std::fs::File::create_new(place(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }
    let places = vec![place("a.toml"), place("b.toml"), place("c.toml")];
    let around = Surroundings { places, state_directory: None };
    let read = file::find_and_read(None, &around).unwrap();
    let expected = FileText { path: Some(place("b.toml")), text: "threads = 2".to_owned() };
    assert_eq!(read, expected);
    let nowhere = Surroundings::default();
    assert_eq!(file::find_and_read(None, &nowhere).unwrap(), FileText::default());
    // What was read is not read again, whatever is there by then.
    let given = FileText { text: "threads = 3".to_owned(), ..expected };
    let loaded = RawConfig::default().load_text(&given, &around).unwrap();
    assert_eq!((loaded.config.threads, loaded.file), (3, Some(place("b.toml"))));
    let loaded = RawConfig::default().load_text(&FileText::default(), &around).unwrap();
    assert_eq!((loaded.config.threads, loaded.file), (Config::default().threads, None));
    let loaded = RawConfig::default().load(None, &around).unwrap();
    assert_eq!((loaded.config.threads, loaded.file), (2, Some(place("b.toml"))));
    let loaded = RawConfig::default().load(Some(&place("c.toml")), &around).unwrap();
    assert_eq!(loaded.config.threads, 4);
    let error = RawConfig::default().load(Some(&place("a.toml")), &around).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("config_unreadable", Kind::Input));
}

#[test]
fn flags_are_well_formed() {
    Flags::command().debug_assert();
    let matches = Flags::command().try_get_matches_from(["hotseat", "--half-close=false"]).unwrap();
    assert_eq!(Flags::from_arg_matches(&matches).unwrap().raw.half_close, Some(false));
    for wrong in ["--header-time=10", "--queue-count=0", "--control=0.0.0.0:1", "--unload=maybe"] {
        assert!(Flags::try_parse_from(["hotseat", wrong]).is_err(), "{wrong}");
    }
}
