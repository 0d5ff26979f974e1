# Everything here runs on a machine that has Python 3.11 or 3.12, make and a network; nothing is installed outside
# .venv and the user's cache. pip asks the index that the machine's own pip configuration names.
.DEFAULT_GOAL := help
SHELL := /bin/sh
ARGS ?=
OUTPUT ?= seed-data

PYTHON ?= $(shell for name in python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$name && break; \
	done)
BIN := .venv/bin
PACKAGES := ibook streams serving training simulator feature_repo infra cli bench
INSTALLED := .venv/.installed
KAFKA := .venv/.kafka
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
	--fork-strategy fewest pyproject.toml  # one version for Python 3.11 and 3.12 alike

.PHONY: help demo test coverage chaos check bench seed-data up down logs clean lock setup

help:  ## Show this
	@echo "usage: make TARGET [ARGS=…]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(INSTALLED) $(KAFKA)  ## Start everything, let a shop sell for a minute, watch verdicts and prices, stop everything
	$(BIN)/ibook demo $(ARGS)

# Tests start hundreds of processes: each would compile our modules anew where Python is told to keep no bytecode.
test: $(INSTALLED) $(KAFKA)  ## Run all tests on a real Kafka and a real Redis
	@$(BIN)/python -m compileall -qq $(PACKAGES) tests
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=15 $(ARGS)

coverage: override ARGS += --cov --cov-report=term
coverage: test  ## The same, slower, and say which lines no test runs

chaos: $(INSTALLED) $(KAFKA)  ## Kill, freeze, slow and flush everything under load, and count what is lost: a table (35 minutes)
	$(BIN)/python -m pytest tests/chaos -m chaos --tb=short $(ARGS)

check: $(INSTALLED)  ## Lint, format, types, layers, compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: $(INSTALLED) $(KAFKA)  ## Measure verdict latency and throughput on the whole local platform
	$(BIN)/python -m bench verdicts $(ARGS)

seed-data: $(INSTALLED)  ## Write 120 days of a simulated shop as Parquet into seed-data/ (or OUTPUT=…); their end is fixed: the same bytes for all
	$(BIN)/python -m simulator history --days 120 --purchases 10000 --events 100 --users 1000 --fraud-rate 0.03 \
		--end 2026-03-01T00:00:00+00:00 --output $(OUTPUT) --seed 7 $(ARGS)

up: $(INSTALLED) $(KAFKA)  ## Start the platform in the background
	$(BIN)/ibook up --detach $(ARGS)

down: $(INSTALLED)  ## Stop it
	$(BIN)/ibook down $(ARGS)

logs: $(INSTALLED)  ## Follow its logs
	$(BIN)/ibook logs --follow $(ARGS)

clean:  ## Stop the platform, delete its data, the virtual environment and caches
	@if [ -x $(BIN)/ibook ]; then $(BIN)/ibook down; fi
	rm -rf .ibook .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

lock: $(INSTALLED)  ## Write requirements/ anew from pyproject.toml
	$(COMPILE) --extra dev -o requirements/dev.txt
	$(COMPILE) --no-annotate -c requirements/dev.txt -o requirements/runtime.txt

setup: $(INSTALLED) $(KAFKA)  ## Install everything, run nothing

# The lock is complete, so nothing is resolved (--no-deps): what pyproject.toml overrides stays out. pip compiles on one
# core, so that is done after it, on all of them; some files of some packages are not meant to compile.
$(INSTALLED): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 was found: install one, or name it (make PYTHON=…)."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "$(PYTHON) can't make a virtual environment: install its venv module."; exit 2; }
	@echo "Installing what requirements/dev.txt locks into .venv; this takes a few minutes, once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -e .
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $@

$(KAFKA): $(INSTALLED) infra/local/jars.py
	$(BIN)/python -m infra.local fetch
	@touch $@
