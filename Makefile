# The two commands of the README, and what continuous integration runs.

.PHONY: run test soak fuzz bench

# The gateway on this machine, with no accounts: nothing is sent, everything is shown.
run:
	cargo run -- dev

# Formatting, lints and every test. Most tests wait most of the time, so more run at once than there are cores.
test:
	sh tests/postgres/install.sh
	cargo fmt --check
	cargo clippy --all-targets --test soak -- -D warnings
	RUST_TEST_THREADS=4 cargo test

# What only shows after minutes: figures are printed, and judged.
soak:
	cargo test --release --test soak -- --nocapture --test-threads 1

# Spoiled files of rules, other ones each time.
fuzz:
	FUZZ_CASES=$${FUZZ_CASES:-1000000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)000000} \
		cargo test --release --test fuzz -- --nocapture

# The gateway against what this machine allows, and what its steps cost: twenty-five minutes. `ONLY=throughput,latency` is
# a part of it; BENCH_ROUNDS and BENCH_SECONDS make it longer or shorter; with BENCH_PATIENCE a quiet machine is waited for,
# so many seconds for each measurement.
bench:
ifdef ONLY
	BENCH_ONLY=$(ONLY) cargo bench --bench gateway
else
	cargo bench
endif
