# On a machine with Rust, a C compiler and Debian's package manager, each of these does everything.

PROFILE ?= dev
BUILT = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

BUILD_PACKAGES = pkg-config libssl-dev
RUN_PACKAGES = $(BUILD_PACKAGES) curl python3-websockets
TEST_PACKAGES = $(BUILD_PACKAGES) redis-server curl openssl python3-websockets haproxy procps libfaketime \
	python3-venv prometheus systemd wget libnss-wrapper
FAULT_PACKAGES = $(BUILD_PACKAGES) redis-server libfaketime
# Of `make faults`: how long everything is broken in turn (once takes half an hour), and how often a primary is killed
# when a replica must have each event, in each shape that has one.
MINUTES ?= 30
KILLS ?= 15
# Of `make fuzz`: how long each parser is fed.
SECONDS ?= 60
CLUSTER_PACKAGES = $(BUILD_PACKAGES) redis-server haproxy curl openssl

.PHONY: help run cluster dev-certs test lint load faults fuzz docs
help:
	@echo "make run                the embedded hub on http://127.0.0.1:8080/api/hub, nothing else needed"
	@echo "make cluster            Redis, two hubs, two workers and a load balancer, as local processes"
	@echo "make cluster SECURE=1   the same with TLS everywhere, tokens, sealed data and an audit trail"
	@echo "make dev-certs          an authority and certificates for this machine alone, in deploy/local/certs"
	@echo "make test               all tests, against real processes"
	@echo "make lint               formatting and clippy, as CI has them"
	@echo "make docs               writes the pages that are made of the code"
	@echo "make faults             breaks one thing after the other under load, for MINUTES=30, in each shape of Redis,"
	@echo "                        kills KILLS=15 primaries that have a replica to wait for, and runs the long checks"
	@echo "                        of the model"
	@echo "make fuzz               feeds each parser for SECONDS=60 with what libFuzzer finds, or the one of TARGET=name"
	@echo "make load               builds the load tool: target/release/fhircast-load --help"
	@echo "PROFILE=release         with run and cluster: built optimised"
	@echo "docs/TOOLS.md says more of each"

run:
	@deploy/local/ensure-packages $(RUN_PACKAGES)
	cargo build --locked --profile $(PROFILE) -p fhircast-hub
	@exec $(BUILT)/fhircast-hub --embedded

cluster:
	@deploy/local/ensure-packages $(CLUSTER_PACKAGES)
	cargo build --locked --profile $(PROFILE) -p fhircast-hub -p fhircast-worker \
		$(if $(SECURE),-p fhircast-tests --bin fhircast-hub --bin fhircast-worker --bin fhircast-token)
	@exec deploy/local/$(if $(SECURE),secure-)cluster $(BUILT)

dev-certs:
	@deploy/local/ensure-packages openssl
	@deploy/local/dev-certs

test:
	@deploy/local/ensure-packages $(TEST_PACKAGES)
	@deploy/tools/ensure
	cargo build --locked --workspace --bins
	@# Most of a test is waiting: one more at once than there are cores.
	RUST_TEST_THREADS=$$(( $$(nproc) + 1 )) cargo test --locked --workspace

lint:
	@deploy/local/ensure-packages $(BUILD_PACKAGES)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

load:
	@deploy/local/ensure-packages $(BUILD_PACKAGES)
	cargo build --locked --release -p fhircast-tests --bin fhircast-load

faults:
	@deploy/local/ensure-packages $(FAULT_PACKAGES)
	cargo test --locked --release -p fhircast-tests --features thorough --test delivery_model
	cargo build --locked --release --workspace --bins
	@status=0; \
	target/release/fhircast-faults --shape single --shape sentinel --shape cluster --minutes $(MINUTES) || status=$$?; \
	target/release/fhircast-faults --shape sentinel --shape cluster --durability replicas=1 --fault primary-killed --runs $(KILLS) || status=$$?; \
	exit $$status

fuzz:
	@deploy/local/ensure-packages $(BUILD_PACKAGES) g++
	@fuzz/run $(SECONDS) $(TARGET)

docs:
	@deploy/local/ensure-packages $(BUILD_PACKAGES)
	@deploy/tools/ensure
	FHIRCAST_WRITE_DOCS=1 cargo test --locked -p fhircast-tests --test all --test deployment -- \
		conformance_page::the_page made_pages::the_page pages::the_page
