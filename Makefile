# On a machine with Rust, a C compiler and Debian's package manager, each of these does everything.

PROFILE ?= dev
BUILT = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

BUILD_PACKAGES = pkg-config libssl-dev
RUN_PACKAGES = $(BUILD_PACKAGES) curl python3-websockets
TEST_PACKAGES = $(BUILD_PACKAGES) redis-server curl python3-websockets haproxy procps libfaketime
FAULT_PACKAGES = $(BUILD_PACKAGES) redis-server libfaketime
# Of `make faults`, for each shape of Redis.
MINUTES ?= 30
DURABILITY ?= primary
CLUSTER_PACKAGES = $(BUILD_PACKAGES) redis-server haproxy curl

.PHONY: help run cluster test lint load faults docs
help:
	@echo "make run      the embedded hub on http://127.0.0.1:8080/api/hub, nothing else needed"
	@echo "make cluster  Redis, two hubs, two workers and a load balancer, as local processes"
	@echo "make test     all tests, against real processes"
	@echo "make lint     formatting and clippy, as CI has them"
	@echo "make docs     writes the pages that are made of the code"
	@echo "make faults   breaks one thing after the other under load, for MINUTES=30 in each shape of Redis, and runs"
	@echo "              the long checks of the delivery model"
	@echo "make load     builds the load tool: target/release/fhircast-load --help"

run:
	@deploy/local/ensure-packages $(RUN_PACKAGES)
	cargo build --locked --profile $(PROFILE) -p fhircast-hub
	@exec $(BUILT)/fhircast-hub --embedded

cluster:
	@deploy/local/ensure-packages $(CLUSTER_PACKAGES)
	cargo build --locked --profile $(PROFILE) -p fhircast-hub -p fhircast-worker
	@exec deploy/local/cluster $(BUILT)

test:
	@deploy/local/ensure-packages $(TEST_PACKAGES)
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

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
	@set -e; for shape in single sentinel cluster; do \
		target/release/fhircast-faults --shape $$shape --durability $(DURABILITY) --minutes $(MINUTES); \
	done

docs:
	@deploy/local/ensure-packages $(BUILD_PACKAGES)
	FHIRCAST_WRITE_DOCS=1 cargo test --locked -p fhircast-tests --test all conformance_page::the_page
