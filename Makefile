# SPDX-License-Identifier: GPL-2.0-only
# `make demo` and `make test` install what is missing (Debian packages, Rust) and do the rest.

CARGO := scripts/cargo

.PHONY: build setup demo test sessions lint bench self-check scopes audit refusals fidelity headers minimal oracle torture fuzz kills mutants clean

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
	scripts/test

# All sessions of testdata/kernel; `make test` has a sample, drawn by KLP_SESSION_SEED.
sessions: setup
	KLP_SESSIONS=all $(CARGO) test --release --test kernel -- session::

# How the front end compares with gcc -E in N units: make self-check N=150
N ?= 150
self-check: setup
	KLP_SELF_CHECK=$(N) $(CARGO) test --release --test kernel -- self-check

# Closures over whole units and over what functions reach, in N units: make scopes N=70
scopes: setup
	KLP_SCOPES=$(N) $(CARGO) test --release --test kernel -- scopes

# Affected sets of N random patches against those of an independent oracle (tests/audit): make audit N=100 SEED=3
SEED ?= 1
audit: setup
	KLP_AUDIT=$(N) KLP_AUDIT_SEED=$(SEED) $(CARGO) test --release --test audit -- --nocapture

# About N functions that must be refused by object facts, and some that must not: does the tool say so? make refusals N=70 SEED=3
refusals: build
	scripts/refusals $(N) $(SEED)

# N recompiled units against the running kernel's image: make fidelity N=300 SEED=3
fidelity: setup
	KLP_FIDELITY_UNITS=$(N) KLP_FIDELITY_SEED=$(SEED) $(CARGO) test --release --test fidelity -- --nocapture a_sample

# N units of each patch to a header in testdata/headers: what the filter leaves out is equal: make headers N=400 SEED=3
headers: setup
	KLP_HEADERS=$(N) KLP_HEADERS_SEED=$(SEED) $(CARGO) test --release --test headers -- --nocapture

# Random programs of csmith and of the tests' own generator, N of each: make oracle N=2000
oracle: setup
	KLP_ORACLE_CSMITH=$(N) KLP_ORACLE_OWN=$(N) $(CARGO) test --release --test oracle

# Nothing of N random modules can be left out: make minimal N=30 SEED=3
minimal: setup
	KLP_MINIMAL=$(N) KLP_MINIMAL_SEED=$(SEED) $(CARGO) test --release --test minimal -- --nocapture

# GCC's own torture programs, all of them: each one's main extracted, compiled and run
torture: setup
	KLP_TORTURE=all $(CARGO) test --release --test torture -- --nocapture

# Every reader under libFuzzer, SECONDS each; what is found stays in the user's cache: make fuzz SECONDS=600 TARGETS="patch object"
SECONDS ?= 60
fuzz: setup
	scripts/fuzz $(SECONDS) $(TARGETS)

# `create` killed N times at random moments, and eight of them at once: make kills N=200
kills: setup
	KLP_KILLS=$(N) KLP_AT_ONCE=8 $(CARGO) test --release --test faults

# Random mutants of the modules whose mistakes would end up in a kernel, killed by tests that need none: make mutants N=300 SEED=7
mutants: setup
	scripts/mutants $(N) $(SEED)

lint:
	scripts/setup --lints
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings

# Time and memory of the front end and of `create`, in units of gcc -fsyntax-only: make bench UNITS="namespace sock"
bench: build
	$(CARGO) bench --bench front_end -- $(UNITS)

clean:
	$(CARGO) clean
