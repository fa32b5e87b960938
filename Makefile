# Everything that a checkout needs is done by these targets; all of them build with the release profile, so that the
# C libraries are compiled once.

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-otlp chaos soak bench servers peers clean-servers check-build-tools check-tools

# rustup installs here, and a shell that was open before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# $(call need,tool,the line that installs it)
define need
	@command -v $(1) >/dev/null 2>&1 || { echo "error: $(1) is missing; install it with: $(2)" >&2; exit 1; }
endef

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

demo: check-build-tools ## Replay ML-100k through the whole path and serve it (DATASET=lastfm, ARGS="--exit --fresh")
	@cargo run --release -- demo $(DATASET) $(ARGS)

test: check-tools servers ## Check format and lints, then run every test against real Kafka and MongoDB
	@cargo fmt --check
	@cargo clippy --release --all-targets -- -D warnings
	@cargo test --release

test-browser: check-tools servers ## Look at the page in a headless browser; it is part of `make test` (ARGS=NAME to pick)
	@cargo test --release --test browser -- --nocapture $(ARGS)

test-otlp: check-tools servers ## Check and test the export of traces, which is a build of its own
	@cargo clippy --release --all-targets --features otlp -- -D warnings
	@cargo test --release --features otlp --lib -- telemetry:: config::
	@cargo test --release --features otlp --test it -- traces::

chaos: check-tools servers ## Kill every part of it over and over, and count what was lost (ARGS=chaos::disk to pick rows)
	@cargo test --release --test it -- --ignored --nocapture --test-threads=1 $(or $(ARGS),chaos::)

soak: check-build-tools ## Load a service and judge errors, lag and memory (ARGS="--duration 1h --rate 5000/s --preset speed")
	@cargo run --release -- soak $(ARGS)

bench: check-tools peers ## Measure it, beside the bare limits of the same servers
	@cargo bench $(ARGS)

servers: check-tools ## Install the servers for tests and benches into target/servers (cached)
	@python3 tests/servers/install.py

peers: check-tools ## Install what benches stand beside, too: faiss, numpy and LIBMF (cached)
	@python3 tests/servers/install.py --peers

clean-servers: ## Remove the installed servers with their logs
	@rm -rf "$${FRESHET_SERVERS_DIR:-target/servers}"

check-build-tools:
	$(call need,cargo,curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh)
	$(call need,cc,sudo apt-get install -y build-essential)
	$(call need,perl,sudo apt-get install -y perl)

# Maven is not demanded: without it install.py says loudly that Kafka's tests run on a mock cluster.
check-tools: check-build-tools
	$(call need,python3,sudo apt-get install -y python3 python3-pip)
	@test -n "$$FRESHET_TEST_MONGODB" || python3 -m pip --version >/dev/null 2>&1 || { \
		echo "error: pip is missing; install it with: sudo apt-get install -y python3-pip" >&2; exit 1; }
	@test -n "$$FRESHET_TEST_KAFKA" || test "$$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')" -ge 17 \
		2>/dev/null || { echo "error: java 17 or newer is missing; install it with:" \
		"sudo apt-get install -y openjdk-17-jre-headless" >&2; exit 1; }
