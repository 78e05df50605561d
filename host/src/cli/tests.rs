//! The command line: what it takes, what it prints, how it ends.

use super::*;

fn outcome(arguments: &[&str]) -> Result<Cli, clap::Error> {
    let program = std::iter::once(&"hotseat");
    parse(program.chain(arguments).map(|argument| (*argument).into()).collect())
}

#[track_caller]
fn help(arguments: &[&str]) -> String {
    let error = outcome(arguments).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    error.to_string()
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn help_has_examples_and_exit_codes() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["load", "-h"],
        &["upgrade", "--help"],
        &["lame-duck", "--help"],
    ] {
        let text = help(arguments);
        assert!(text.contains("Examples:"), "{text}");
        assert!(text.contains("Exit codes:"), "{text}");
    }
    assert!(!help(&["--help"]).contains("preflight-child"));
}

#[test]
fn help_names_variables_defaults_and_bounds() {
    let text = help(&["serve", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "--header-time <DURATION>",
        "[env: HOTSEAT_HEADER_TIME]",
        "From a request's first byte to the end of its head; from 1ms to 10min [default: 10s]",
        "Limits (in a file: the table [limits]):",
        "[default: 127.0.0.1:28000]",
        "Upgrade and stop:",
        "--single[=<BOOL>]",
        "--hook <PHASE_SIGNAL=COMMAND>",
        "[env: HOTSEAT_PROBE]",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = help(&["upgrade", "--help"]);
    assert!(text.contains("  --config <FILE>") && text.contains("--host-config <FILE>"), "{text}");
    // `check` takes the same and shows the few that matter to it.
    let text = help(&["check", "--help"]);
    assert!(!text.contains("--header-time"), "{text}");
    assert!(outcome(&["check", "x.so", "--library-bytes", "1MiB"]).is_ok());
}

#[test]
fn wrong_usage_is_64() {
    let work = Work {
        serve: |_, _| panic!("served"),
        check: |_, _| panic!("checked"),
        preflight_child: |_| ExitCode::from(7),
        worker: |_| panic!("worked"),
    };
    let exit = |arguments: &[&str]| {
        let program = std::iter::once(&"hotseat");
        run(program.chain(arguments).map(OsString::from), &work)
    };
    for wrong in [
        &["serv"][..],
        &[],
        &["load"],
        &["history", "--limit", "0"],
        &["history", "--limit", "10001"],
        &["unload", "Handler"],
        &["rollback", "--to", "x"],
        &["serve", "--header-time", "10"],
        &["serve", "--config", "/nowhere/hotseat.toml"],
        &["status", "--control", "localhost"],
        &["status", "--config", "/nowhere/hotseat.toml"],
        &["status", "--json", "--config", "/nowhere/hotseat.toml"],
        &["upgrade", "--host-config", "/nowhere/hotseat.toml"],
        &["upgrade", "x"],
        &["upgrade", "--wait", "ready"],
        &["upgrade", "--wait=long"],
        &["upgrade", "--binary", ""],
        &["lame-duck"],
        &["lame-duck", "maybe"],
        &["serve", "--lame-status", "200"],
        &["serve", "--hook", "pre_hup"],
        &["serve", "--listen", "127.0.0.1:1", "--control", "127.0.0.1:1"],
    ] {
        assert_eq!(exit(wrong), ExitCode::from(USAGE), "{wrong:?}");
    }
    assert_eq!(exit(&["--version"]), ExitCode::from(DONE));
    assert_eq!(exit(&["load", "--help"]), ExitCode::from(DONE));
    assert_eq!(exit(&["preflight-child", "whatever"]), ExitCode::from(7));
}

#[test]
fn kinds_have_exit_codes() {
    assert_eq!(exit_code(Kind::Refused), REFUSED);
    assert_eq!(exit_code(Kind::Missing), REFUSED);
    assert_eq!(exit_code(Kind::Host), FAILED);
    assert_eq!(exit_code(Kind::Busy), FAILED);
}
