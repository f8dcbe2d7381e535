# Each target makes .venv with what it needs; the first time takes a few minutes.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
endif
DEMO_DIR ?= demo

.PHONY: help demo test test-slow lint format bench readme clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv.stamp: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "hemix needs Python 3.11 or later (make PYTHON=python3.12 ...)"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch .venv.stamp

demo: .venv.stamp  ## Train and compare three models on MovieLens-100K (about five minutes)
	OMP_NUM_THREADS=1 $(BIN)/hemix demo --dir $(DEMO_DIR)

test: .venv.stamp  ## Run the fast tests (under four minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-slow: .venv.stamp  ## Run the tests marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow -n auto

lint: .venv.stamp  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv.stamp  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: .venv.stamp  ## Measure data preparation, loading and training; writes benchmarks/results
	$(BIN)/python benchmarks/run.py

readme: .venv.stamp  ## Run the demo from the start and put its output and plot into README.md
	rm -rf build/readme && mkdir -p build/readme/demo
	cd build/readme && OMP_NUM_THREADS=1 ../../$(BIN)/hemix demo --dir demo --json demo/figures.json > output.txt && mv output.txt demo/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/write_readme.py build/readme/demo

clean:  ## Remove the environment and all caches
	rm -rf .venv .venv.stamp .pytest_cache .ruff_cache .hypothesis dist build
