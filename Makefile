# Everything the project does, one word each. `make` alone lists the words.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.dcpi-ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input
PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run demo serve test lint fix bench catalog openapi pins clean

help: ## list these words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv and install everything at the pinned versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch ..."
	@$(PIP) install -q -c constraints.txt torch==2.13.0 setuptools
	@echo "installing everything else ..."
	@$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[server,dev]'
	@touch $@

run: setup ## start the service, condense the digits through the REST API, show the result, keep serving
	$(BIN)/python -m worker.local --demo --keep

demo: setup ## the same, then stop; fails unless the bundle beats random images
	$(BIN)/python -m worker.local --demo

serve: setup ## start the service and wait for jobs
	$(BIN)/dcpi serve

test: setup ## the tests; PROCESSES=n for other than two at once
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

lint: setup ## format, lint, types, import contracts, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m dcpi_core.catalog_export --check
	$(BIN)/python -m app.openapi --check

fix: setup ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure speed; results as JSON under benchmarks/results
	$(BIN)/python -m benchmarks

catalog: setup ## write dcpi_core/spec/catalog.json from the registries
	$(BIN)/python -m dcpi_core.catalog_export

openapi: setup ## write openapi.json from the application
	$(BIN)/python -m app.openapi

pins: setup ## write constraints.txt from the environment
	@grep '^#' constraints.txt > constraints.new
	@$(PIP) freeze --all --exclude pip --exclude dcpi | sed -E 's/\+[A-Za-z0-9.]+$$//' >> constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environment, caches and build products (not var/, which holds your data)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
