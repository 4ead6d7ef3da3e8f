# The daily commands. Every target first lets scripts/bootstrap install what it needs and the machine
# lacks; when nothing is missing that takes a fraction of a second.
#
#   make demo          two providers exchange a certified message; ONCE=1 ends after the checks
#   make test          format, lint, every test (what continuous integration runs)
#   make check         format, lint, unit tests: for daily work
#   make bench         every measure, or one: make bench BENCH=append
#   make fuzz         one target for a while: make fuzz TARGET=message SECONDS=300
#   make lint, fmt     one step alone

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := check
.PHONY: demo test check bench fuzz lint fmt

# Build output outlives a clone: a second clone rebuilds only the project's own crates.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/ceralacca
ROCKSDB_VERSION := $(shell sed -n '/^name = "librocksdb-sys"$$/{n;s/.*+\(.*\)"/\1/p;}' Cargo.lock scripts/rocksdb-static/Cargo.lock | head -n 1)

export PATH := $(PATH):$(HOME)/.cargo/bin
export ROCKSDB_LIB_DIR ?= $(CACHE)/rocksdb-$(ROCKSDB_VERSION)
export ROCKSDB_STATIC ?= 1
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Incremental files of every clone would pile up in the shared folder, and a crate here compiles in
# seconds without them.
export CARGO_INCREMENTAL ?= 0
export CERALACCA_PYTHON ?= $(CACHE)/python/bin/python3
export CERALACCA_NODE_MODULES ?= $(CACHE)/npm/node_modules
export CERALACCA_WEED ?= $(CACHE)/seaweedfs/bin/weed

# The storage suite runs over a folder with everything else, and again over a real S3 cluster, less what
# no object store could change: parsers, engines, tests that bring an object store of their own or put
# nothing into it, and the two that change octets or shapes one by one.
OBJECT_TESTS := $(foreach room,mime:: summary:: catalog:: model:: simulation:: objects:: repair:: collector:: \
	tests::blocks tests::headers tests::seeds every_changed_octet base64,--skip $(room))

demo:
	@scripts/bootstrap demo
	cargo build --locked --bin ceralacca
	"$(CARGO_TARGET_DIR)/debug/ceralacca" demo $(if $(filter 1,$(ONCE)),--once)

test: export CERALACCA_TEST_OBJECTS = folder
test:
	@scripts/bootstrap test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	CERALACCA_TEST_OBJECTS=s3 cargo test --package ceralacca-storage --lib --locked -- $(OBJECT_TESTS)
	cargo test --workspace --locked --no-fail-fast

check:
	@scripts/bootstrap check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --lib --bins
	cargo test --locked --test house

bench:
	@scripts/bootstrap bench
	cargo bench --locked --bench measures -- $(BENCH)

# The corpus grows in tests/fuzz/corpus, which is not committed; what it finds there lies in
# tests/fuzz/artifacts. The fuzzer wants flags of an unstable compiler: RUSTC_BOOTSTRAP opens them.
fuzz:
	@scripts/bootstrap fuzz
	@mkdir -p tests/fuzz/corpus/$(or $(TARGET),message)
	RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/fuzz" cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none \
		$(or $(TARGET),message) tests/fuzz/corpus/$(or $(TARGET),message) tests/fuzz/seeds/$(or $(TARGET),message) -- \
		-max_total_time=$(or $(SECONDS),300) -max_len=20000

lint:
	@scripts/bootstrap check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt:
	@scripts/bootstrap check
	cargo fmt --all
