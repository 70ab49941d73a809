# make demo      set up, then stream 1,200 documents and show what was kept
# make test      set up, then lint, types, import rules and all tests
# The same without make is in README.md.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := PYTHONUNBUFFERED=1 $(BIN)/mira-stream
LINT   := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && PYTHONPATH=. $(BIN)/lint-imports
PYTEST_ARGS ?=
# Modules are compiled once, not by every process anew, also where the environment forbids to keep them: importing torch and
# vLLM takes three times as long without. Git ignores what is kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup setup-dev demo test test-fast faults simulation crash-matrix test-tools deploy-check lint schemas demo-project clean

help:
	@echo "make demo       set up and run the demo (ARGS='--documents 400 --chaos' passes options on)"
	@echo "make test       set up and run lint, types, import rules and all tests"
	@echo "make test-fast  the tests that need nothing but Python, and no torch (PART=simulation, tools, models, broker, engine or demo: the others)"
	@echo "make faults     the fault suite on a real Kafka (SEEDS=2 FAULTS='F01 F08' select; about an hour)"
	@echo "make crash-matrix  200 SIGKILLs over 100,000 documents (ARGS='--documents 5000 --kills 20' for less)"
	@echo "make simulation the stream under 10,000 seeds of faults (SEEDS=10000; SEED=17 runs one, with a trace)"
	@echo "make test-tools get what tests use beside Python: promtool, helm, docker-compose, hadolint, Chromium (once, a minute)"
	@echo "make deploy-check  deploy/ read by its own tools"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make schemas    write schemas/ anew from the messages"
	@echo "make demo-project  make the demo's project anew, from nothing (about an hour)"
	@echo "make clean      remove the environment and everything made by the demo"

setup:
	@$(PYTHON) requirements/install.py

setup-dev:
	@$(PYTHON) requirements/install.py --dev

demo: setup
	@$(RUN) demo $(ARGS)

lint: setup-dev
	$(LINT)

# The tools come while lint runs. What cannot be had is said; its tests are skipped, no other.
test: setup-dev
	@$(BIN)/python -m tests.machine & fetching=$$!; \
	( $(LINT) ); linted=$$?; \
	wait $$fetching; \
	test $$linted = 0 && $(BIN)/python -m tests.parts $(PYTEST_ARGS)

test-fast: setup-dev
	@$(BIN)/python -m tests.parts --part $(or $(PART),fast) $(PYTEST_ARGS)

# Real Kafka, real service processes, stand-in engines; a line a fault, a table, and as the last line one JSON object.
faults: setup-dev
	@PYTHONUNBUFFERED=1 SEEDS="$(SEEDS)" FAULTS="$(FAULTS)" $(BIN)/python -m tests.faults

# Options: ARGS='--documents 100000 --kills 200 --seed 0', which are the defaults.
crash-matrix: setup-dev
	@PYTHONUNBUFFERED=1 $(BIN)/python -m tests.faults.crash_matrix $(ARGS)

# The real stream on a clock and a broker in memory; a table, and as the last line one JSON object.
simulation: setup-dev
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000) --jobs 2 $(if $(SEED),--seed $(SEED))

test-tools: setup-dev
	@$(BIN)/python -m tests.machine

deploy-check: setup-dev
	-@$(BIN)/python -m tests.machine
	$(BIN)/pytest -v tests/deploy tests/tools

schemas: setup
	$(RUN) schemas write

# About an hour on two cores: documents, groups, rubrics, labels, students, tables, from nothing. What comes out depends on
# the machine's packages: equal in measure, not in bytes. `build/demo-project` goes on where it was stopped.
demo-project: setup
	@test -e build/demo-project/mira.toml || $(RUN) init build/demo-project --demo
	@$(RUN) pipeline --project build/demo-project
	@for part in mira.toml rubrics prompts students reliability labels; do \
		rm -rf mira_stream/demo/project/$$part && cp -r build/demo-project/$$part mira_stream/demo/project/ || exit 1; \
	done

clean:
	rm -rf $(VENV) mira-demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
