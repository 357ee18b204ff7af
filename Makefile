# `make` lists the targets. Everything runs from .venv, which is made from requirements-dev.txt (exact versions with hashes).

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first Python that is new enough; `make PYTHON=/path/to/python serve` decides otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header
# The benchmarks' peer is another program, with other libraries.
PEER := .venv-peer
PEER_STAMP := $(PEER)/.installed

# Some containers forbid Python to keep what it compiled; then every program that the tests start compiles it anew.
export PYTHONDONTWRITEBYTECODE =
# Stealing work keeps the tests of a module, and the server that they share, in one worker. One worker more than there are
# processors, because many tests wait for programs and time-outs.
PYTEST := $(BIN)/pytest --numprocesses $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help serve reset quick test coverage check check-all format lint types imports drift openapi bench bench-web bench-sync bench-sources bench-history bench-scaling lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): requirements-dev.txt setup.cfg
	@test -n "$(PYTHON)" || { echo "productagg needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo none)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON); the first time this takes a few minutes …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(PEER_STAMP): benchmarks/requirements-peer.txt
	@$(PYTHON) -m venv --clear $(PEER)
	@$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

serve: $(STAMP) ## run everything: web, sandbox with an Offers service and shops, one sync run a minute
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python serve.py

reset: $(STAMP) ## remove the data of `make serve`, which then begins anew
	@$(BIN)/python serve.py --reset

quick: $(STAMP) ## run each test once, without PostgreSQL and without starting programs: about a minute
	QUICK=1 $(PYTEST) $(ARGS)

test: $(STAMP) ## run the tests on SQLite and PostgreSQL; ARGS="-k name" passes arguments to pytest
	$(PYTEST) $(ARGS)

coverage: $(STAMP) ## run the tests and measure the coverage of branches, which may not fall: half as long again
	$(PYTEST) --cov --cov-report term-missing:skip-covered $(ARGS)

check: format-check lint types imports drift test ## what CI runs

check-all: format-check lint types imports drift ## what CI runs, with the slow tests, all examples and fifty killed runs: 20 minutes
	ALL_TESTS=1 $(PYTEST)

format: $(STAMP) ## format the code
	$(BIN)/ruff check --quiet --fix --select I . ; $(BIN)/ruff format .

.PHONY: format-check
format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP) ## lint
	$(BIN)/ruff check .

types: $(STAMP) ## check the types
	$(BIN)/mypy

imports: $(STAMP) ## check who imports whom
	$(BIN)/lint-imports

drift: $(STAMP) ## check that the migrations make the tables that the models describe
	@mkdir -p var && rm -f var/drift.sqlite
	DATABASE_URL=sqlite:///var/drift.sqlite $(BIN)/alembic -c development.ini upgrade head
	DATABASE_URL=sqlite:///var/drift.sqlite $(BIN)/alembic -c development.ini check
	@rm -f var/drift.sqlite

openapi: $(STAMP) ## write docs/openapi.json, the contract as the code has it now
	@$(BIN)/python -W 'ignore:pkg_resources is deprecated:UserWarning' -m productagg.api.openapi docs/openapi.json

bench: ## measure everything, about an hour and a half and 16 GB of disk; STRICT=1 makes a missed target an error
	@$(MAKE) --no-print-directory --keep-going bench-web bench-sync bench-sources bench-history bench-scaling

bench-web: $(STAMP) $(PEER_STAMP) ## measure the web service beside its floor and a peer, about 40 minutes; wants wrk
	@$(BIN)/python -m benchmarks.web $(if $(STRICT),--strict)

bench-sync: $(STAMP) ## measure the sync against its targets, about six minutes; STRICT=1 makes a missed one an error
	@$(BIN)/python -m benchmarks.sync $(if $(STRICT),--strict)

bench-sources: $(STAMP) ## measure the reading of pages and feeds, and the sync of a feed, half an hour; STRICT=1 as above
	@$(BIN)/python -m benchmarks.jsonld $(if $(STRICT),--strict)
	@$(BIN)/python -m benchmarks.feed $(if $(STRICT),--strict)
	@$(BIN)/python -m benchmarks.feed_sync $(if $(STRICT),--strict)

bench-history: $(STAMP) ## measure the price history against its targets, about 15 minutes and 16 GB of disk; STRICT=1 as above
	@$(BIN)/python -m benchmarks.history_size $(if $(STRICT),--strict)
	@$(BIN)/python -m benchmarks.history --plans benchmarks/history-plans.txt $(if $(STRICT),--strict)

bench-scaling: $(STAMP) ## measure what operations cost as the catalogue grows to a million products; STRICT=1 as above
	@$(BIN)/python -m benchmarks.scaling --picture docs/scaling.svg $(if $(STRICT),--strict)

lock: $(STAMP) ## choose the exact versions anew, from the ranges in setup.cfg, and for the benchmarks' peer
	$(LOCK) --upgrade setup.cfg --output-file requirements.txt
	$(LOCK) --upgrade setup.cfg --extra test --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	$(LOCK) --upgrade benchmarks/requirements-peer.in --output-file benchmarks/requirements-peer.txt

clean: ## remove the virtual environments (var/, with the data, stays)
	rm -rf $(VENV) $(PEER) build *.egg-info
