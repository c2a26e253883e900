# make repro: set up, run the main job on the embedded default, say where the leaderboard is.
# make test:  set up, run the tests.
# Both need git, make and Python 3.11 to 3.13, and the network for the package install only.

PYTHON ?= $(firstword $(foreach v,3.12 3.13 3.11,$(if $(shell python$(v) -c 'print(1)' 2>/dev/null),python$(v))) python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: repro test setup lock lint
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -3

setup: $(VENV)/.installed

# Only hashes decide what is installed; the lock names no index. The suite itself is installed in place.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

repro: setup
	$(BIN)/bench repro

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Rewrite the lock from pyproject.toml: for Python 3.11 to 3.13, with hashes and without index addresses.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock
