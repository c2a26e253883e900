# make repro   set up, run the main job on the embedded default, say where the leaderboard is
# make test    set up, run the tests; make test-slow runs those that take long
# make lint    set up, check format, lint and types
# make docs    set up, build the documentation into site/
# make simulations   set up, print the tables of docs/statistics.md
# They need git, make and Python 3.11 to 3.13 (another one than python3: make PYTHON=python3.12 test), and the
# network for the package install only.

VENV := .venv
BIN := $(VENV)/bin
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c '$(IN_RANGE)' 2>/dev/null && echo $(p))))

.PHONY: help setup repro test test-slow lint docs drawing simulations lock

help:
	@sed -n '1,7s/^# //p' Makefile

setup: $(VENV)/.installed

# Hashes decide what is installed; the lock names no index. The suite itself is installed in place.
$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 found; install one, or name it: make PYTHON=... setup"; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON): some 5 GB of libraries, a few minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup
	$(BIN)/bench repro

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: setup
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTEST) -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A broken link or a wrong reference stops it. It needs no network.
docs: setup
	$(BIN)/zensical build --strict --clean

# The drawing of who imports whom, anew from the imports; needs Graphviz.
drawing: setup
	$(BIN)/python docs/draw_imports.py

simulations: setup
	$(BIN)/python -m tests.simulations

# Rewrite the lock from pyproject.toml: for Python 3.11 to 3.13, with hashes and without index addresses.
lock:
	uv pip compile pyproject.toml --extra dev --extra docs --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock
