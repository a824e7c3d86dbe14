# SPDX-License-Identifier: GPL-2.0-only
# `make demo` and `make test` install what is missing (Debian packages, Rust) and do the rest.

CARGO := scripts/cargo

.PHONY: build setup demo test lint bench self-check clean

build: setup
	$(CARGO) build --release

# Quick where all is there.
setup:
	scripts/setup

# The whole way once: from a patch to a livepatch that is shown working in a virtual machine.
demo: build
	demo/run

# All tests. Prepares a Debian kernel in the user's cache (about 2 GiB) the first time.
test: setup
	$(CARGO) test --release

# How the front end compares with gcc -E in N units: make self-check N=150
N ?= 150
self-check: setup
	KLP_SELF_CHECK=$(N) $(CARGO) test --release --test kernel -- self-check

lint:
	scripts/setup --lints
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings

# Time and memory of front end and `create`, in units of gcc -fsyntax-only.
bench: build
	$(CARGO) bench --bench front_end

clean:
	$(CARGO) clean
