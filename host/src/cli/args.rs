//! What can be typed.
//!
//! Owns names, help and examples of the subcommands. Does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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

Exit codes:
  0  done
  1  failed: no host there, the host is busy, stopping or in trouble
  2  refused: nothing changed; standard error says why
  64 wrong usage, or wrong settings";

const SERVE_EXAMPLES: &str = "\
Every option is also a variable (shown beside it) and a key of the configuration file, with
underscores: `--plugins-dir` is HOTSEAT_PLUGINS_DIR and plugins_dir. An option beats a variable,
a variable beats the file. Durations are written like 10s, 200ms, 10min; sizes like 64KiB, 256MiB.

Examples:
  hotseat serve --listen 0.0.0.0:80 --state-dir /var/lib/hotseat
  hotseat serve --control unix:/run/hotseat/control --watch off
  hotseat serve --mount /=shop --mount api.example/v1=billing

Signals:
  TERM, INT  finish what is in flight, then exit 0; again after 1 s: stop waiting; a third: at once

Exit codes: 0 stopped as asked, 1 failed, 64 wrong usage or wrong settings";

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

Exit codes: 0 it serves, 1 failed, 2 refused and nothing changed, 64 wrong usage";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  hotseat rollback                               the plugin that changed last, one version back
  hotseat rollback echo                          this plugin, one version back
  hotseat rollback echo --to 3                   to the bytes of generation 3

Exit codes: 0 it serves, 1 failed, 2 refused and nothing changed, 64 wrong usage";

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
    /// Return to a version before
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(RollbackArgs),
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
    #[arg(long, env = "HOTSEAT_CONTROL", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:28000")]
    pub control: Vec<ListenAt>,
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
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `hotseat unload`.
#[derive(Debug, Args)]
pub struct UnloadArgs {
    /// The plugin
    pub name: PluginName,
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

/// `hotseat rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The plugin [default: the one that changed last]
    pub name: Option<PluginName>,
    /// The generation whose bytes are wanted [default: the version before]
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<u64>,
    /// The host.
    #[command(flatten)]
    pub remote: RemoteArgs,
}
