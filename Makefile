# The two commands of the README, and what continuous integration runs.

.PHONY: run test bench

# The gateway on this machine, with no accounts: nothing is sent, everything is shown.
run:
	cargo run -- dev

# Formatting, lints and every test.
test:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test

# What the rules cost for one event.
bench:
	cargo bench
