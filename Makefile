# Works from any folder (`make -C path/to/project demo`, `make -f path/to/project/Makefile demo`), as
# root and as an ordinary user. File names are relative to this folder, because make splits names at
# spaces, and the path of the folder may contain spaces.
ROOT := $(shell cd "$$(dirname "$(strip $(MAKEFILE_LIST))")" && pwd -P)
ifneq ($(ROOT),$(shell pwd -P))
.DEFAULT_GOAL := help
%:
	@$(MAKE) --no-print-directory -C "$(ROOT)" $@
else

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# One more than there are processors, because tests wait for servers most of the time.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade --quiet

.PHONY: help demo test test-all check format protos docs bench bench-rows bench-api bench-signatures bench-archive lock clean
.SILENT: help .venv/demo-ready .venv/ready

help:
	echo "make demo        run a simulated network, its applications, all servers, indexer and API; Ctrl-C stops all"
	echo "make test        run the tests, on real embedded servers"
	echo "make test-all    run the tests and the long fault tests"
	echo "make check       check lint, types, import arrows and generated code"
	echo "make bench       measure throughput, latency and memory; LEDGER=path measures another ledger"
	echo "make bench-rows  measure business rows settled a second"
	echo "make bench-api   measure requests a second of the explorer API; needs wrk"
	echo "make bench-signatures  measure signatures of envelopes verified a second"
	echo "make bench-archive  measure what it costs to keep raw blocks"
	echo "make format      format the code"
	echo "make protos      generate protos/*_pb2"
	echo "make docs        generate docs/api.md"
	echo "make lock        renew the pinned versions; needs uv"
	echo "make clean       remove .venv, the demo's data and caches"

.venv/demo-ready: requirements-demo.lock pyproject.toml setup.py $(wildcard ledger/compiled/*.pyx ledger/compiled/*.pxd)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	echo "[make] Creating .venv, a few seconds"
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	echo "[make] Installing the program and the demo's servers: 88 MB to download, 340 MB in .venv, about a minute"
	$(PIP) --require-hashes -r requirements-demo.lock
	$(PIP) --no-build-isolation -e .
	touch $@

.venv/ready: requirements-dev.lock .venv/demo-ready
	echo "[make] Installing the tools for tests and checks: 40 MB to download, 150 MB in .venv, about half a minute"
	$(PIP) --require-hashes -r requirements-dev.lock
	touch $@

demo: .venv/demo-ready
	exec $(BIN)/kindledger demo --data .kindledger/demo

test: .venv/ready
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(ARGS)

test-all: .venv/ready
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy docs/evidence/verify.py
	$(BIN)/python -m protos.generate --check
	$(BIN)/python -m pytest -q tests/test_arrows.py

format: .venv/ready
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

protos: .venv/ready
	$(BIN)/python -m protos.generate

docs: .venv/ready
	$(BIN)/python -m explorer_api.generate_docs

bench: .venv/ready
	$(BIN)/python -m benchmarks $(if $(LEDGER),--ledger "$(LEDGER)") $(ARGS)

bench-rows: .venv/ready
	$(BIN)/python -m benchmarks.reconciliation $(ARGS)

bench-api: .venv/ready
	$(BIN)/python -m benchmarks.api $(ARGS)

bench-signatures: .venv/ready
	$(BIN)/python -m benchmarks.signatures $(ARGS)

bench-archive: .venv/ready
	$(BIN)/python -m benchmarks.archive $(if $(LEDGER),--ledger "$(LEDGER)") $(ARGS)

lock:
	$(LOCK) --extra devnet --extra dev -o requirements-dev.lock
	$(LOCK) -c requirements-dev.lock -o requirements.lock
	printf "setuptools>=77\nCython>=3.1\n" | $(LOCK) - -c requirements-dev.lock --extra devnet -o requirements-demo.lock

clean:
	rm -rf .venv .kindledger .mypy_cache .ruff_cache .pytest_cache .hypothesis
endif
