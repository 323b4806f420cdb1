# `make demo` and `make test` set up the environment themselves.
PYTHON ?= python3
BIN := .venv/bin
# Which tests; all of a machine without a GPU and a network: make test MARKERS="not gpu and not network"
MARKERS ?= not slow and not gpu and not slurm and not network
# In how many processes, of one thread each; 0: in one, of two threads.
WORKERS ?= auto

.PHONY: demo test lint docs clean

demo: .venv/ready
	$(BIN)/sgm-lightning predict --config emoji_world --run_dir runs/emoji_world

test: .venv/ready
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadgroup -m "$(MARKERS)"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy sgm_lightning

docs: .venv/ready
	$(BIN)/mkdocs build --strict

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv site
