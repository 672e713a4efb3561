# Works from any folder, as root and as an ordinary user: `make -C path/to/project demo`.
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
VENV := $(ROOT).venv
BIN := $(VENV)/bin
PYTHON ?= python3
# One more than there are processors: tests wait for servers most of the time.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade --quiet

.PHONY: help demo test test-all check format protos docs bench bench-rows bench-api lock clean
.SILENT: help

help:
	echo "make demo      index a live forged network and serve it, on embedded servers; Ctrl-C stops it"
	echo "make test      the tests, on real embedded servers"
	echo "make test-all  the same with the long fault tests"
	echo "make check     lint, types, import arrows, generated code"
	echo "make bench     throughput, latency and memory; LEDGER=path measures another ledger"
	echo "make bench-rows  business rows settled a second"
	echo "make bench-api   requests a second of the explorer API; needs wrk"
	echo "make format    format the code      make protos  regenerate protos/*_pb2      make docs  docs/api.md"
	echo "make lock      renew the pinned versions (needs uv)"

$(VENV)/ready: $(ROOT)requirements-dev.lock $(ROOT)pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(ROOT)requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e $(ROOT)
	touch $@

demo: $(VENV)/ready
	cd $(ROOT) && exec $(BIN)/kindledger demo --data .kindledger/demo

test: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(ARGS)

test-all: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/ready
	cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	cd $(ROOT) && $(BIN)/mypy
	cd $(ROOT) && $(BIN)/python -m protos.generate --check
	cd $(ROOT) && $(BIN)/python -m pytest -q tests/test_arrows.py

format: $(VENV)/ready
	cd $(ROOT) && $(BIN)/ruff check --fix . && $(BIN)/ruff format .

protos: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m protos.generate

docs: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m explorer_api.generate_docs

bench: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m benchmarks $(if $(LEDGER),--ledger $(LEDGER)) $(ARGS)

bench-rows: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m benchmarks.reconciliation $(ARGS)

bench-api: $(VENV)/ready
	cd $(ROOT) && $(BIN)/python -m benchmarks.api $(ARGS)

lock:
	cd $(ROOT) && $(LOCK) -o requirements.lock && $(LOCK) --extra devnet --extra dev -o requirements-dev.lock

clean:
	rm -rf $(VENV) $(ROOT).kindledger $(ROOT).mypy_cache $(ROOT).ruff_cache $(ROOT).pytest_cache $(ROOT).hypothesis
