# Everything sets itself up in .venv; set-up speaks on stderr only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
WORKERS ?= 2

.PHONY: demo test faults machine policies inference mutate fuzz bench lint migration lock clean
.DEFAULT_GOAL := test

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -m venv $(VENV) 1>&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock 1>&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . 1>&2
	@touch $@

demo: $(READY)  ## the whole small world on loopback; ARGS="--once --json" passes arguments on
	@$(BIN)/aggregator demo $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests that reach a store run on PostgreSQL too: fhir_profiles and connectors import nothing of it, demo and the
# command line are SQLite's.
ON_POSTGRESQL := tests/api tests/audit tests/consent tests/identity tests/migrations tests/sync tests/vault \
	tests/faults/test_server.py

test: lint  ## what CI runs
	$(BIN)/pytest -n $(WORKERS) $(ARGS)
	$(BIN)/pytest -n $(WORKERS) --store postgresql $(ON_POSTGRESQL) $(ARGS)

faults: $(READY)  ## kill -9 at every step and write, a full and a broken disk at every write: hours; ARGS="-k letters"
	AGGREGATOR_FAULTS=all $(BIN)/pytest -n $(WORKERS) tests/faults $(ARGS)
	AGGREGATOR_FAULTS=all $(BIN)/pytest -n $(WORKERS) --store postgresql tests/faults $(ARGS)

machine: $(READY)  ## the state machine with many examples, the shortest way to a failure; AGGREGATOR_MACHINE=500
	AGGREGATOR_MACHINE=$${AGGREGATOR_MACHINE:-200} AGGREGATOR_SHRINK=1 $(BIN)/pytest tests/vault/test_state_machine.py $(ARGS)

policies: $(READY)  ## the consent engine against its reference on 100,000 pairs of policy and resource: minutes
	AGGREGATOR_POLICIES=$${AGGREGATOR_POLICIES:-5000} $(BIN)/pytest -o timeout=0 tests/consent/test_decide_laws.py $(ARGS)

inference: $(READY)  ## random requests to every route tell nothing of what is hidden: minutes; AGGREGATOR_INFERENCE=5000
	AGGREGATOR_INFERENCE=$${AGGREGATOR_INFERENCE:-2000} AGGREGATOR_SHRINK=1 $(BIN)/pytest -o timeout=0 \
		tests/inference -k "not without" $(ARGS)

mutate: $(READY)  ## every small wrong in keys, envelope, fold, chain, consent is noticed, or explained: half an hour
	nice $(BIN)/python -m tests.mutation $(ARGS)

fuzz: $(READY)  ## bytes that nobody thought of, at every parser and every route: minutes; AGGREGATOR_FUZZ=500
	AGGREGATOR_FUZZ=$${AGGREGATOR_FUZZ:-200} $(BIN)/pytest tests/fuzz tests/api/test_api_schemathesis.py $(ARGS)

bench: $(READY)  ## one JSON line a figure; ARGS="--quick --store postgresql"
	@$(BIN)/python -m tests.bench $(ARGS)

migration: $(READY)  ## make the database's revision anew from the models
	$(BIN)/python -m aggregator.migrations.make

lock:  ## renew requirements.lock (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra dev \
		--quiet pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) demo-home demo.json
