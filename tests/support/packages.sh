#!/bin/bash
# Installs what some tests need beyond cargo, as far as that is allowed here. Never fails: a test
# whose program is missing says so and is skipped (with HOTSEAT_TEST_TOOLS=all it fails).
#
# Usage: packages.sh VERSION_OF_SUPERVISOR TARGET_FOLDER
set -uo pipefail

supervisor=$1
target=$2

has() { PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

missing=()
has haproxy || missing+=(haproxy)
has nginx || missing+=(nginx-light)
has h2load || missing+=(nghttp2-client)
has unshare || missing+=(util-linux)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)

# The tests run nginx and haproxy of their own: installing them must start no service.
install() {
  local root=("$@") policy=/usr/sbin/policy-rc.d made=""
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null || return 1
    "${root[@]}" chmod 755 "$policy" || return 1
    made=yes
  fi
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
  local status=$?
  [ -z "$made" ] || "${root[@]}" rm -f "$policy"
  return $status
}

if [ ${#missing[@]} -gt 0 ]; then
  done=""
  if has apt-get; then
    if [ "$(id -u)" = 0 ]; then
      install env && done=yes
    elif has sudo && sudo -n true 2>/dev/null; then
      install sudo -n && done=yes
    fi
  fi
  [ -n "$done" ] || echo "test-packages: some tests will be skipped; install: ${missing[*]}"
fi

# supervisord is a program of Python's own index; it gets a folder of its own.
if [ ! -x "$target/supervisor/bin/supervisord" ]; then
  mkdir -p "$target"
  python3 -m venv "$target/supervisor" &&
    "$target/supervisor/bin/pip" --quiet --disable-pip-version-check install \
      --retries 1 --timeout 15 "supervisor==$supervisor" || {
      rm -rf "$target/supervisor"
      echo "test-packages: no supervisord $supervisor from PyPI; the tests with it will be skipped"
    }
fi
exit 0
