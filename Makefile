# Each target does its own set-up: `make tune` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Tests wait a lot, so four at a time; threads that NumPy starts in each would only spin.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadgroup

.PHONY: setup tune test test-long chaos lint bench fuzz dashboard lock audit sbom clean

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
	$(PYTEST) $(ARGS)

# What takes minutes: each objective of the corpus by Optuna and by us on each database, a fuzz.
test-long: $(VENV)/.dev-installed
	$(PYTEST) -m long $(ARGS)

chaos: $(VENV)/.dev-installed
	$(BIN)/python -m tests.chaos --seconds 600 $(ARGS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks $(ARGS)

# Thousands of odd requests to the API, as each role: CASES=5000.
fuzz: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.fuzz --cases $(or $(CASES),5000)

# The versions and hashes that the image is made of, but for torch's, which its own index has.
lock: $(VENV)/.dev-installed
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --extra postgres --extra mysql --extra serve --upgrade \
		--generate-hashes --python-version 3.12 --python-platform x86_64-manylinux_2_28 --no-header \
		$$($(BIN)/python -c 'print("--no-emit-package " + " --no-emit-package ".join(\
		open("deploy/not-locked.txt").read().split()))') --output-file requirements.lock

# Known holes of what is locked; asks a database on the internet.
audit: $(VENV)/.dev-installed
	$(PIP) pip-audit
	$(BIN)/pip-audit --no-deps --disable-pip --requirement requirements.lock

# What the image is made of, torch too, as CycloneDX: for those who look for holes in many programs.
sbom: $(VENV)/.dev-installed
	$(PIP) cyclonedx-bom
	{ cat requirements.lock; grep -oE 'torch(vision)?==[0-9.]+' Dockerfile; } | $(BIN)/cyclonedx-py \
		requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json -

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
