# hotseat: the only entry point that people and CI use. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
T ?=
SWAPS ?= 10000
UPGRADES ?= 100
MINUTES ?= 10
SECONDS ?= $(shell echo $$(( $(MINUTES) * 60 )))
NGINX ?= 20
BODIES ?= 1024
FLAT ?= 1000
ROUNDS ?= 5
SEED ?=
POSTS ?= 10000
SUPERVISOR ?= 4.3.0
HOTSEAT := target/release/hotseat
PREVIOUS := tests/data/previous/hotseat-0.1.0.tar.gz
EXAMPLES := handler_v1 handler_v2 echo_v1 counter_v1
HAS_NEXTEST := $(shell $(CARGO) nextest --version 2>/dev/null)
HAS_DENY := $(shell $(CARGO) deny --version 2>/dev/null)
HAS_SSL := $(shell test -e /usr/include/openssl/ssl.h && echo yes)

# Larger examples, which `make run` does not build.
APPLICATIONS := notes chat upstream
APPLICATION_ARGS := $(foreach it,$(APPLICATIONS),-p $(it))

# The other example plugins, by their folders, so that a new one needs no line here.
PLUGIN_PACKAGES := $(filter-out $(APPLICATIONS),$(shell awk -F '"' '/^name = / { print $$2; nextfile }' plugins/*/Cargo.toml))
PLUGIN_ARGS := $(foreach it,$(PLUGIN_PACKAGES),-p $(it))

# By what the examples are built, and where they go: the tests have debug builds in a folder of theirs.
PLUGIN_PROFILE ?= release
PUT_INTO ?= target/plugins
BUILT = $(or $(CARGO_TARGET_DIR),target)/$(patsubst dev,debug,$(PLUGIN_PROFILE))
put = mkdir -p $(PUT_INTO); \
  for it in $(1); do install -m 0644 $(BUILT)/lib$$it.so $(PUT_INTO)/; done; \
  echo "$(PUT_INTO)/: $$(cd $(PUT_INTO) && echo *.so)"

.PHONY: help build plugins examples run demo fresh fmt lint doc test test-one test-static test-packages test-plugins previous soak soak-upgrade bench \
        fuzz chaos chaos-minute stress real-plugins real-packages deny hooks packages ci clean-tree

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

build: ## build the host (release)
	$(CARGO) build --locked --release -p hotseat

plugins: ## build the example plugins and put them into target/plugins/
	$(CARGO) build --locked --profile $(PLUGIN_PROFILE) $(PLUGIN_ARGS)
	@$(call put,$(EXAMPLES))

examples: ## build the larger examples (notes, chat, upstream) and put them into target/plugins/
	$(CARGO) build --locked --profile $(PLUGIN_PROFILE) $(APPLICATION_ARGS)
	@$(call put,$(APPLICATIONS))

run: build plugins ## start the host with the example plugins; a second run goes on where the first ended
	@if [ -e .hotseat/manifest.json ]; then \
	  echo; echo "Going on with the state in .hotseat/ (\`make fresh\` forgets it)."; \
	else \
	  for it in handler_v1 echo_v1 counter_v1; do \
	    cp "target/plugins/lib$$it.so" "plugins/.lib$$it.so.part"; \
	    mv "plugins/.lib$$it.so.part" "plugins/lib$$it.so"; \
	  done; \
	fi
	@echo; \
	echo "Next, in another terminal:"; \
	echo "  curl localhost:8080                                  # the handler answers"; \
	echo "  curl localhost:28000 -d ./libhandler_v2.so           # swap it by a request"; \
	echo "  curl localhost:8080                                  # version 2 answers"; \
	echo "  cp target/plugins/libhandler_v2.so plugins/          # or by a file"; \
	echo "  $(HOTSEAT) status                        # what serves, what was unloaded"; \
	echo
	@cd target/plugins && exec "$(CURDIR)/$(HOTSEAT)" serve \
	  --plugins "$(CURDIR)/plugins" --state-dir "$(CURDIR)/.hotseat"

demo: build plugins ## upgrade a host of its own while a request is on its way
	@packaging/demo.sh

fresh: ## forget the state and the deployed files of `make run`
	rm -rf .hotseat plugins/*.so plugins/.lib*.so.part

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: ## build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

# Under nextest each test is a process of its own: what they load is built once, before.
test-plugins: previous ## build what the tests load
	$(CARGO) build --locked $(PLUGIN_ARGS)
	$(CARGO) build --locked -p hotseat-test-plugins -p hotseat-real-plugins -p hotseat-unload --examples
	$(CARGO) build --locked -p hotseat-test-plugins-service --examples --bins
	$(CARGO) build --locked $(APPLICATION_ARGS)
	$(CARGO) build --locked -p hotseat-test-support --bin faulty --bin chaos

# A workspace of its own in a target folder of its own: nothing of it is built twice, and nothing of
# this tree is built anew for it.
previous: ## build the release before this one, which the tests upgrade from and go back to
	@if ! cmp -s $(PREVIOUS) target/previous/kept.tar.gz; then \
	  rm -rf target/previous/source; mkdir -p target/previous/source; \
	  tar -xzf $(PREVIOUS) -C target/previous/source; cp $(PREVIOUS) target/previous/kept.tar.gz; \
	fi
	cd target/previous/source && export CARGO_TARGET_DIR=.. CARGO_PROFILE_DEV_DEBUG=false && \
	  $(CARGO) build --locked -p hotseat --bin hotseat --lib -p echo_v1 && \
	  $(CARGO) build --locked -p hotseat-test-plugins --example whoami --example crash --example stands_still

# Where one of these is missing, the tests that need it say so and are skipped.
test-packages: ## install what some tests need beyond cargo, as far as that is allowed
	@tests/support/packages.sh $(SUPERVISOR) target

test: test-packages test-plugins ## run all tests
ifneq ($(HAS_NEXTEST),)
	$(CARGO) nextest run --locked --no-fail-fast
else
	$(CARGO) test --locked --no-fail-fast --lib --bins --tests
endif
	$(CARGO) test --locked -p hotseat-plugin-api --lib --features axum,testing tests::
	$(CARGO) test --locked $(APPLICATION_ARGS)
	$(CARGO) test --locked --doc -p hotseat -p hotseat-plugin-api -p hotseat-testing -p hotseat-unload \
	  --features hotseat-plugin-api/axum,hotseat-plugin-api/testing

# What these tests look at belongs to the process: each has one of its own, or is alone in it.
ifneq ($(HAS_NEXTEST),)
test-static: TEST_ALONE := nextest run
else
test-static: TEST_ALONE := test
test-static: ONE_BY_ONE := -- --test-threads 1
endif

# A program that is not position-independent has addresses of its own for functions of the C library.
test-static: ## run the tests of host/unload in programs that are not position-independent
	RUSTFLAGS="-C relocation-model=static" CARGO_TARGET_DIR=target/static \
	  $(CARGO) $(TEST_ALONE) --locked -p hotseat-unload --lib --test hooks --test reach \
	  --target "$$(rustc -vV | sed -n 's/^host: //p')" $(ONE_BY_ONE)

test-one: test-plugins ## run the tests whose name contains T, with their output: make test-one T=zoo
	$(CARGO) test --locked -p hotseat --lib --test it -- --nocapture $(T)

soak: build ## swap under load: SWAPS=10000 of a plain, a hostile and a hoarding plugin, 300 with OpenSSL or another allocator; POSTS=10000 nobody reads
	$(CARGO) build --locked --release -p hotseat-test-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bins
	target/release/soak --host $(HOTSEAT) --plugin plain --swaps $(SWAPS)
	target/release/soak --host $(HOTSEAT) --plugin hostile --swaps $(SWAPS)
	target/release/soak --host $(HOTSEAT) --plugin hoarding --swaps $(SWAPS)
	$(CARGO) build --locked --release -p hotseat-test-plugin-allocators --examples
	@for it in mimalloc jemalloc; do \
	  library=target/release/examples/libuses_$$it.so; \
	  target/release/soak --host $(HOTSEAT) --library $$library --swaps 300 --recycle && \
	  target/release/soak --host $(HOTSEAT) --library $$library --swaps 300 || exit 1; \
	done
ifeq ($(HAS_SSL),yes)
	$(CARGO) build --locked --release -p hotseat-test-plugin-openssl
	target/release/soak --host $(HOTSEAT) --plugin openssl --swaps 300
else
	@echo "soak of a plugin that links OpenSSL: skipped (install libssl-dev: \`make packages\`)"
endif
	target/release/soak --host $(HOTSEAT) --posts $(POSTS)
	@echo "The negative control: unloading is switched off, memory must grow."
	target/release/soak --host $(HOTSEAT) --plugin hostile --swaps 500 --unload off

# A variable of 0 leaves its part out: upgrades under load, nginx's under the same, a body of BODIES
# MiB each way across an upgrade, FLAT upgrades in a row.
soak-upgrade: build test-plugins ## upgrade under load: UPGRADES=100, NGINX=20, BODIES=1024 (MiB), FLAT=1000
	$(CARGO) build --locked --release -p hotseat-test-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bins
	target/release/soak_upgrade --host $(HOTSEAT) --upgrades $(UPGRADES) --nginx $(NGINX) \
	  --bodies $(BODIES) --flat $(FLAT)
	@echo "Rolling restarts behind HAProxy and nginx, five rounds; a hundred workers killed."
	HOTSEAT_SLOW=1 $(CARGO) test --locked -p hotseat --test it -- --nocapture --test-threads 1 \
	  proxied:: crash::killed

bench: build ## compare with axum, hyper and nginx, an axum plugin with its program, and time 200 swaps (needs wrk)
	$(CARGO) build --locked --release $(PLUGIN_ARGS)
	$(CARGO) build --locked --release -p hotseat-test-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bins
	target/release/bench serving --host $(HOTSEAT) --rounds $(ROUNDS)
	$(CARGO) build --locked --release -p hotseat-test-plugins-service --example stock_app --bin stock_app
	target/release/bench services --host $(HOTSEAT) --rounds $(ROUNDS)
	target/release/bench swaps --host $(HOTSEAT)
	@if ls host/benches/*.rs >/dev/null 2>&1; then $(CARGO) bench --locked -p hotseat; fi

# Each round is 200 conversations; without SEED another one begins each time, and is told.
fuzz: ROUNDS := 50
fuzz: build ## throw conversations at the edge: ROUNDS=50 SEED=1; what fails can be kept in tests/data/fuzz/
	$(CARGO) build --locked --release -p hotseat-test-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bins
	target/release/fuzz --host $(HOTSEAT) --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

# The same seed gives the same acts at the same times; without SEED another one begins each time, and
# is told. CHAOS="--without full,unread" leaves things out.
chaos: build ## everything at once under clients that never retry: MINUTES=10 (or SECONDS=60) SEED=1
	$(CARGO) build --locked --release -p hotseat-test-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bins
	target/release/chaos --host $(HOTSEAT) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(CHAOS)

chaos-minute: test-plugins ## a minute of it, with the host that the tests have built
	@test -x target/debug/hotseat || $(CARGO) build --locked -p hotseat --bin hotseat
	target/debug/chaos --host target/debug/hotseat --seconds 60 $(if $(SEED),--seed $(SEED)) $(CHAOS)

# The same seed gives the same clients; without SEED another one begins each time, and is told.
stress: SECONDS := 60
stress: build ## plugins that do real work, under clients that break off, while all is swapped: SECONDS=60 SEED=1
	$(CARGO) build --locked --release -p hotseat-test-plugins-service --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bin stress
	target/release/stress --host $(HOTSEAT) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

real-packages:
	@missing=""; \
	for it in cc c++ pkg-config; do command -v $$it >/dev/null || missing+=" $$it"; done; \
	pkg-config --exists openssl 2>/dev/null || missing+=" libssl-dev"; \
	if [ -n "$$missing" ]; then \
	  echo "some of the plugins cannot be built without:$$missing (\`make packages\` installs them)"; exit 1; \
	fi

# What takes minutes to build is a workspace of its own, which nothing else builds.
real-plugins: SWAPS := 300
real-plugins: real-packages build ## swap plugins with real crates and C libraries, write docs/dependencies.md: SWAPS=300 ONLY=regex
	$(CARGO) build --locked --release -p hotseat-real-plugins --examples
	$(CARGO) build --locked --release -p hotseat-test-support --bin real
	cd tests/real/heavy && CARGO_TARGET_DIR=../../../target/real $(CARGO) build --locked --release --examples
	@mkdir -p docs
	target/release/real --host $(HOTSEAT) --swaps $(SWAPS) \
	  $(if $(ONLY),--only $(ONLY)) --table docs/dependencies.md

deny: ## check licences, bans and sources of dependencies
ifneq ($(HAS_DENY),)
	$(CARGO) deny --locked check bans licenses sources
else
	@echo "deny: skipped (cargo-deny is not installed)"
endif

hooks: ## use the repository's git hooks
	git config core.hooksPath .githooks

packages: ## install the system packages that soak, bench and some tests can use
	@wanted="curl wrk g++ pkg-config nginx-light libssl-dev haproxy nghttp2-client util-linux python3-venv"; \
	if [ "$$(id -u)" = 0 ]; then apt-get install -y $$wanted; \
	elif command -v sudo >/dev/null; then sudo apt-get install -y $$wanted; \
	else echo "install these packages: $$wanted"; fi

clean-tree:
	@if [ -n "$$(git status --porcelain)" ]; then \
	  echo "the checks have changed the tree, or it was not committed:"; git status --short; exit 1; \
	fi

# Nothing is built twice here: what an incremental build keeps for the next one would only fill the disk.
ci: export CARGO_INCREMENTAL := 0
ci: test test-static chaos-minute lint doc deny clean-tree ## everything that CI runs
	@du -sh target; df -h target
