//! What can be typed.
//!
//! Owns names, help and examples of the subcommands. Does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::raw::{RawConfig, address::ListenAt},
    ids::PluginName,
};

/// The first argument of a preflight's child; no command for people.
pub const PREFLIGHT_CHILD: &str = "preflight-child";

const EXAMPLES: &str = "\
Examples:
  hotseat serve                                  a host on 127.0.0.1:8080, updated on :28000
  curl localhost:28000 -d ./libhandler_v2.so     bring a library to traffic
  hotseat load ./libhandler_v2.so                the same
  hotseat rollback                               and back again
  hotseat upgrade --wait                         go over to a new hotseat

Commands that ask a host find it by --control, else by HOTSEAT_CONTROL, else by `control` of the
configuration file that --config, HOTSEAT_CONFIG or the usual places give, else on 127.0.0.1:28000.

Exit codes:
  0  done
  1  failed: no host there, the host is busy, stopping or in trouble
  2  refused: nothing changed; standard error says why
  3 to 7 of `hotseat upgrade`: see its help
  64 wrong usage, or wrong settings";

const SERVE_EXAMPLES: &str = "\
Every option is also a variable (shown beside it) and a key of the configuration file, with
underscores: `--plugins-dir` is HOTSEAT_PLUGINS_DIR and plugins_dir. An option beats a variable,
a variable beats the file. Only the commands of --hook have no variable. Durations are written like 10s, 200ms, 10min; sizes like 64KiB, 256MiB.

Examples:
  hotseat serve --listen 0.0.0.0:80 --state-dir /var/lib/hotseat
  hotseat serve --control unix:/run/hotseat/control --watch off
  hotseat serve --mount /=shop --mount api.example/v1=billing

Signals:
  HUP        upgrade: binary and settings again from where they were, as `hotseat upgrade`
  TERM, INT, QUIT
             finish what is in flight, then exit 0; again after 1 s: stop waiting; a third: at once
  USR2       end the processes that still drain; while stopping, this one too
  USR1       only what --hook says
  TSTP       only what --hook says; without a hook the master stops until CONT (Ctrl-Z), and workers serve on

Exit codes: 0 stopped as asked, 1 failed, 3 requests were cut (with --strict-exit), 64 wrong usage
or wrong settings";

const CHECK_EXAMPLES: &str = "\
The library runs in a child process for a moment, as it would before a deploy; no host is needed
and none is touched. Limits, plugin tables and trusted owners are those of the configuration.

Examples:
  hotseat check ./libhandler_v2.so
  hotseat check --json target/release/libhandler_v2.so

Exit codes: 0 it would be loaded, 1 failed, 2 it would be refused, 64 wrong usage";

const LOAD_EXAMPLES: &str = "\
Examples:
  hotseat load ./libhandler_v2.so
  hotseat load --force ./libhandler_v2.so        a fresh instance of what serves already
  hotseat load --if-generation 7 ./libhandler_v2.so
                                                 refused if anything but generation 7 serves

Exit codes: 0 it serves, 1 failed, 2 refused and nothing changed, 64 wrong usage";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  hotseat rollback                               the plugin that changed last, one version back
  hotseat rollback echo                          this plugin, to the last version of other bytes
  hotseat rollback echo --to 3                   to the bytes of generation 3
  hotseat rollback echo --if-generation 7        refused if anything but generation 7 serves

Exit codes: 0 it serves, 1 failed, 2 refused and nothing changed, 64 wrong usage";

const CELLS_EXAMPLES: &str = "\
Cells are values that a plugin keeps beyond its versions. They stay when it is unloaded.

Examples:
  hotseat cells                                  who has how many
  hotseat cells shop                             the keys of this plugin
  hotseat cells shop visits                      one value
  hotseat cells shop --remove                    all of them go

Exit codes: 0 done, 1 failed, 2 refused, 64 wrong usage";

const UPGRADE_EXAMPLES: &str = "\
A new process with the new binary and settings takes over; the one before finishes what it has.
No connection is refused meanwhile, and the host's process id stays. If the new process fails, or
turns bad while it is watched, the one before goes on. A path is relative to this shell's folder.

Examples:
  hotseat upgrade --wait                         binary and settings again from where they were
  hotseat upgrade --binary ./hotseat-new --wait  another binary from now on
  hotseat upgrade --config ./new.toml --wait=ready

Exit codes:
  0  done; without --wait: it was taken
  1  failed: no host there, it is stopping, or it runs as a single process
  2  refused before it was looked at: a request that this host does not take
  3  binary or settings did not pass the checks; nothing was started
  4  the new process did not come up
  5  the new process did not answer as it should
  6  the new process turned bad; the one before serves again
  7  another upgrade runs, or too many processes drain
  64 wrong usage";

const RELOAD_EXAMPLES: &str = "\
The host reads its configuration file again, and the files that secrets are in. Each plugin in traffic
whose settings have changed is deployed again, the same bytes with the new settings: all of them, or
none if one does not take them. For any other setting an upgrade is needed; the answer names them.

Examples:
  hotseat reload-config

Exit codes: 0 done, or nothing has changed; 1 failed, 2 refused and nothing changed, 64 wrong usage";

const LAME_DUCK_EXAMPLES: &str = "\
A lame duck serves everything, but `/readyz` says no, so that load balancers send the next clients
elsewhere.

Examples:
  hotseat lame-duck on --wait
  hotseat lame-duck off

Exit codes: 0 done, 1 failed, 2 refused, 64 wrong usage";

/// Serves HTTP with plugins that are swapped while requests are in flight.
#[derive(Debug, Parser)]
#[command(name = "hotseat", version, arg_required_else_help = true, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a host
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Bring a library to traffic
    #[command(after_help = LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// Take a plugin out of traffic, and forget it
    Unload(UnloadArgs),
    /// Find out whether a library would be loaded, without a host
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Box<CheckArgs>),
    /// Show what serves, what leaves and who holds it
    Status(RemoteArgs),
    /// Show what was done, newest first
    History(HistoryArgs),
    /// Show what plugins keep with the host, and remove it
    #[command(after_help = CELLS_EXAMPLES)]
    Cells(CellsArgs),
    /// Return to a version before
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(RollbackArgs),
    /// Replace the host's binary and settings while it serves
    #[command(after_help = UPGRADE_EXAMPLES)]
    Upgrade(UpgradeArgs),
    /// Have plugins serve with their settings as the configuration says them now
    #[command(after_help = RELOAD_EXAMPLES)]
    ReloadConfig(RemoteArgs),
    /// Ask load balancers for no more traffic, or for traffic again
    #[command(after_help = LAME_DUCK_EXAMPLES)]
    LameDuck(LameDuckArgs),
}

/// `hotseat serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file [default: ./hotseat.toml, $XDG_CONFIG_HOME/hotseat/hotseat.toml or
    /// /etc/hotseat/hotseat.toml, whichever is there]
    #[arg(long, env = "HOTSEAT_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Everything else.
    #[command(flatten)]
    pub settings: RawConfig,
}

/// `hotseat check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The library
    pub path: PathBuf,
    /// Print an object for programs
    #[arg(long)]
    pub json: bool,
    /// The configuration file, as for `serve`
    #[arg(long, env = "HOTSEAT_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings of a host.
    #[command(flatten)]
    pub settings: RawConfig,
}

/// Which host, and in which form.
#[derive(Debug, Args)]
pub struct RemoteArgs {
    /// The host's control plane: IP:PORT or unix:PATH; of several the first one is asked
    /// [default: `control` of the configuration file, else 127.0.0.1:28000]
    #[arg(long, env = "HOTSEAT_CONTROL", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_delimiter = ',')]
    pub control: Vec<ListenAt>,
    /// The configuration file whose `control` says where the host is [default: the one that `serve`
    /// would find]
    #[arg(id = "host_config", long = "config", env = "HOTSEAT_CONFIG", hide_env_values = true)]
    #[arg(value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print an object for programs
    #[arg(long)]
    pub json: bool,
}

/// `hotseat load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The library; relative to this shell's folder
    pub path: PathBuf,
    /// Load it again even if the same content already serves
    #[arg(long)]
    pub force: bool,
    /// Only if this generation serves; 0: only if nothing does
    #[arg(long, value_name = "GENERATION")]
    pub if_generation: Option<u64>,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat unload`.
#[derive(Debug, Args)]
pub struct UnloadArgs {
    /// The plugin
    pub name: PluginName,
    /// Only if this generation serves; 0: only if nothing does
    #[arg(long, value_name = "GENERATION")]
    pub if_generation: Option<u64>,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many lines at most
    #[arg(long, value_name = "COUNT", default_value = "50")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat cells`.
#[derive(Debug, Args)]
pub struct CellsArgs {
    /// The plugin whose keys are listed [default: all plugins, with what they have]
    pub plugin: Option<PluginName>,
    /// The key whose value is shown
    pub key: Option<String>,
    /// Remove the value, or without a key all values of the plugin
    #[arg(long, requires = "plugin")]
    pub remove: bool,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The plugin [default: the one that changed last, if no other has within a minute]
    pub name: Option<PluginName>,
    /// The generation whose bytes are wanted [default: the last one with other bytes]
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<u64>,
    /// Only if this generation serves; 0: only if nothing does
    #[arg(long, value_name = "GENERATION")]
    pub if_generation: Option<u64>,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// Another binary from now on [default: the file that was started, read again]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Another configuration file from now on [default: the same file, read again]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Return when the new process answers (ready), or when it has stood the test of time or was
    /// taken back (commit) [default: at once; --wait alone: commit]
    #[arg(long, value_name = "UNTIL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "commit")]
    pub wait: Option<Until>,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// How long `hotseat upgrade` waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The new process answers new requests
    Ready,
    /// It has stood the test of time, or was taken back
    Commit,
}

/// `hotseat lame-duck`.
#[derive(Debug, Args)]
pub struct LameDuckArgs {
    /// What it is to be
    pub switch: Switch,
    /// Return when `/readyz` says so
    #[arg(long)]
    pub wait: bool,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// `/readyz` says no; everything is served
    On,
    /// `/readyz` says what is
    Off,
}
