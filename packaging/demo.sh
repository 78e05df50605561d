#!/usr/bin/env bash
# Upgrades a host while a request is on its way: the slow answer comes from the old process, a quick
# one from the new process, and the host's process id stays.
#
# Usage: make build plugins && packaging/demo.sh [SECONDS]     how long the slow answer takes: 5
# HOTSEAT and PLUGIN name another binary and another library, ADDRESS another port.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
seconds=${1:-5}
hotseat=${HOTSEAT:-$here/target/release/hotseat}
plugin=${PLUGIN:-$here/target/plugins/libhandler_v1.so}
address=${ADDRESS:-127.0.0.1:0}

folder=$(mktemp -d)
master=""
trap '[ -z "$master" ] || kill "$master" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT

die() { echo "demo: $*" >&2; cat "$folder/log" >&2; exit 1; }

# Looks until a command succeeds, for 20 s at most.
eventually() {
  for _ in $(seq 400); do
    if "$@"; then return; fi
    sleep 0.05
  done
  die "waited in vain: $*"
}

mkdir "$folder/plugins"
cp "$plugin" "$folder/plugins/libhandler_v1.so"
"$hotseat" serve --listen "$address" --control 127.0.0.1:0 --plugins "$folder/plugins" \
  --state-dir "$folder/state" >"$folder/ready" 2>"$folder/log" &
master=$!

is_ready() { kill -0 "$master" 2>/dev/null || die "the host has ended"; [ -s "$folder/ready" ]; }
eventually is_ready
# hotseat 0.1.0 ready: data 127.0.0.1:8080 control 127.0.0.1:28000 pid 4711
read -r _ _ _ _ data _ control _ pid <"$folder/ready"
echo "the host's process id: $pid"

# `hello from handler v1 (pid 4712)`
pid_of() { sed -n 's/.*(pid \([0-9]*\)).*/\1/p' <<<"$1"; }
answer() { curl --silent --fail --max-time 60 "http://$data/?sleep=$1"; }

before=$(pid_of "$(answer 0)")
answer "$seconds" >"$folder/slow" &
slow=$!
in_flight() { "$hotseat" status --control "$control" --json | grep -q '"busy": *[1-9]'; }
eventually in_flight
echo "curl 'http://$data/?sleep=$seconds'   is on its way in process $before"

echo "kill -HUP $pid"
kill -HUP "$master"

is_other() { quick=$(answer 0) && [ "$(pid_of "$quick")" != "$before" ]; }
eventually is_other
after=$(pid_of "$quick")
echo "curl 'http://$data/?sleep=0'   ->   $quick"
kill -0 "$slow" 2>/dev/null || die "the slow answer was quicker than the upgrade: give more SECONDS"

wait "$slow" || die "the slow answer failed"
text=$(cat "$folder/slow")
echo "curl 'http://$data/?sleep=$seconds'   ->   $text"

[ "$(pid_of "$text")" = "$before" ] || die "the slow answer is not from $before"
[ "$pid" = "$master" ] || die "the ready line names $pid, not $master"
kill -0 "$master" || die "the host has ended"
"$hotseat" status --control "$control" >/dev/null || die "the host has no status"
echo "old process $before, new process $after, the host is still $pid"
