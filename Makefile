# make repro   set up, run the main job on the embedded default, say where the leaderboard is
# make test    set up, run the tests; make test-slow runs those that take long, make test-walks those of many minutes
# make lint    set up, check format, lint and types
# make docs    set up, build the documentation into site/
# make simulations   set up, print the tables of docs/statistics.md
# make test-lowest, make test-newest   the quick tests in an environment with the oldest, the newest packages allowed
# They need git, make and Python 3.11 or newer (another one than python3: make PYTHON=python3.12 test), and the
# network for the package install only. make TORCH=cpu repro takes the build of PyTorch without CUDA.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup repro test test-slow test-walks test-lowest test-newest lint docs drawing simulations lock

help:
	@sed -n '1,8s/^# //p' Makefile

# Hashes decide what is installed; the lock names no index. The suite itself is installed in place.
setup:
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" .ci/setup

repro: setup
	$(BIN)/bench repro

# The slowest tests are named at the end, so that what CI prints says where its time goes.
PYTEST := $(BIN)/python -m pytest --dist loadfile --numprocesses auto --maxprocesses 4 --durations 40

test: setup
	$(PYTEST) -m "not slow and not walk"

test-slow: setup
	$(PYTEST) -m slow

# Whole ways of users, engines and harnesses: more than an hour on two cores.
test-walks: setup
	$(PYTEST) -m walk

test-lowest: setup
	.ci/test-bounds lowest-direct

test-newest: setup
	.ci/test-bounds highest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if command -v actionlint > /dev/null; then actionlint; else echo "no actionlint here: CI looks at the workflows"; fi

# A broken link or a wrong reference stops it. It needs no network.
docs: setup
	$(BIN)/zensical build --strict --clean

# The drawing of who imports whom, anew from the imports; needs Graphviz.
drawing: setup
	$(BIN)/python docs/draw_imports.py

simulations: setup
	$(BIN)/python -m tests.simulations

# Rewrite the lock from pyproject.toml: for Python 3.11 and newer, with hashes and without index addresses.
lock: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lock
