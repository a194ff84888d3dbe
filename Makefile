# The commands of the house; `make help` lists them.

CARGO ?= cargo
# Passed to the bench: `make bench ARGS="--runs 1 --only pairs"`.
ARGS ?=
# Schedules of each kind in `make sim`.
SCHEDULES ?= 2000

# Writes the SBOM, of every program beside its Cargo.toml; installed once, beside the rest of what we build for ourselves.
CDX_VERSION = 0.5.9
CDX_ROOT = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tombolo/cyclonedx-$(CDX_VERSION)
CDX = $(CDX_ROOT)/bin/cargo-cyclonedx

.DEFAULT_GOAL := help
# Names of tests over a real API server, or parts of them: `make e2e-api TESTS=story`.
TESTS ?=

.PHONY: help demo test e2e-api kube e2e packages node images sbom bench bench-api sim crds fmt lint check tools components

help: ## Lists the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## Plays the story of the README with two linked clusters; KEEP=1 leaves them running
	$(CARGO) build --locked -p tombolo
	$(CARGO) run --locked -q -p tombolo --bin tombolo-demo -- $(if $(filter-out 0,$(KEEP)),--keep)

test: tools components ## Everything that must hold: format, lints, tidy, unit, property, wire, link, story, `tombolo up`, Kubernetes
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) build --locked --workspace --all-targets
	RUST_BACKTRACE=$${RUST_BACKTRACE:-0} $(CARGO) test --locked --workspace --no-fail-fast
	$(MAKE) e2e-api

e2e-api: tools kube ## The operator and real brokers over a real API server; TESTS="story rollout" for a part
	$(CARGO) build --locked -p tombolo-operator -p tombolo-broker -p tombolo-kube-tests
	RUST_BACKTRACE=$${RUST_BACKTRACE:-0} target/debug/kube-tests $(TESTS)

kube: ## Builds that API server once from Go modules, unless KUBEBUILDER_ASSETS names a folder that has one
	tests/kube/build.sh

e2e: tools packages node images ## Chart, images and brokers in containers on a real node of Kubernetes; needs root, and leaves the machine as it was
	$(CARGO) build --locked -p tombolo-kube-tests
	RUST_BACKTRACE=$${RUST_BACKTRACE:-0} target/debug/kube-tests --node

packages: ## Installs what a node and images need from Debian's or Ubuntu's packages, as root
	tests/kube/packages.sh

node: ## Builds that node's programs once from Go modules
	tests/kube/build.sh node

images: tools ## Operator, broker and command as OCI archives in target/images: static, reproducible; ARCH, REGISTRY, VERSION
	images/build.sh

bench-api: tools kube ## 1000 clusters and 1000 links on a real API server: time, writes, memory
	$(CARGO) build --locked --release -p tombolo-operator -p tombolo-broker -p tombolo-kube-tests
	target/release/kube-tests --bench

bench: tools ## CPU per million deliveries beside a bare relay and the targets; ARGS="--runs 1 --only pairs" for a part
	$(CARGO) build --locked --release -p tombolo-broker -p tombolo-loadgen
	target/release/bench $(ARGS)

sim: tools ## Many schedules of clusters and links on a failing network, and what interest costs; SCHEDULES=n, SEED=n for one
	SCHEDULES=$(SCHEDULES) $(CARGO) test --locked --release -p tombolo-broker --lib sim:: -- --nocapture
	$(CARGO) test --locked --release -p tombolo-broker --lib link::tests::costs -- --nocapture --include-ignored --test-threads 1

crds: tools ## Writes the YAML of the resource types, their copies in the charts, and docs/reference
	$(CARGO) run --locked -q -p tombolo-crds --bin crds-yaml
	cp crds/*.yaml charts/tombolo/files/crds/
	UPDATE_GOLDEN=1 $(CARGO) test --locked -q -p tombolo-crds --test reference --test chart_schema

sbom: tools ## What each program is made of, as CycloneDX in target/sbom
	@[ -x "$(CDX)" ] || \
	  $(CARGO) install --locked --quiet --root "$(CDX_ROOT)" --version $(CDX_VERSION) cargo-cyclonedx
	@mkdir -p target/sbom
	@"$(CDX)" cyclonedx --quiet --format json --describe binaries --spec-version 1.5 --target x86_64-unknown-linux-musl
	@for program in broker/tombolo-broker operator/tombolo-operator cli/tombolo; do \
	  sed "s|file://$$PWD|file:///tombolo|g" "$${program}_bin.cdx.json" > "target/sbom/$${program%%/*}.cdx.json" || exit 1; \
	  echo "target/sbom/$${program%%/*}.cdx.json"; \
	done
	@find . -path ./target -prune -o -name '*_bin.cdx.json' -exec rm {} +

fmt: tools components ## Formats all code
	$(CARGO) fmt --all

lint: tools components ## Clippy, where a warning is an error
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

check: tools components ## What is quick: format, clippy, tidy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked -p tombolo-tests --test tidy

# Says what is missing and how to get it, before anything fails in a way that nobody understands.
tools:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	  echo "Rust is missing. Get it with:"; \
	  echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; \
	  echo "then open a new shell, or run: . \$$HOME/.cargo/env"; exit 1; } >&2
	@command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 || { \
	  echo "A C compiler is missing (the TLS library is built with it). Get one with:"; \
	  echo "  Debian, Ubuntu:  sudo apt-get install build-essential"; \
	  echo "  Fedora:          sudo dnf install gcc"; \
	  echo "  macOS:           xcode-select --install"; exit 1; } >&2
	@wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	found=$$(rustc --version 2>/dev/null | cut -d' ' -f2); \
	printf '%s\n%s\n' "$$wanted" "$${found:-0}" | sort -V -C || { \
	  echo "Rust $${found:-(none)} is older than $$wanted. Get a newer one with: rustup update stable"; exit 1; } >&2

components:
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || { \
	  echo "rustfmt or clippy is missing. Get them with: rustup component add rustfmt clippy"; exit 1; } >&2
