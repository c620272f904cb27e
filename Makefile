# Each target does its own set-up: `make tune` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup tune test chaos lint bench dashboard clean

setup: $(VENV)/.tuner-installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lambda-tuner needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.tuner-installed: pyproject.toml | $(BIN)/python
	@echo "Installing lambda-tuner into $(VENV); torch is large, this takes minutes the first time"
	$(PIP) --editable '.[postgres,mysql,serve]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml $(VENV)/.tuner-installed
	$(PIP) --editable '.[dev]'
	@touch $@

tune: setup
	$(BIN)/tuner run $(ARGS)

dashboard: setup
	$(BIN)/tuner dashboard $(ARGS)

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n 4 $(ARGS)

chaos: $(VENV)/.dev-installed
	$(BIN)/python -m tests.chaos --seconds 600 $(ARGS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
